// Package sockstest runs a SOCKS5 proxy for tests: the one of a library, which knows nothing of ours.
package sockstest

import (
	"context"
	"net"
	"sync"

	"github.com/things-go/go-socks5"
)

// Proxy notes what it is asked for. Safe for concurrent use.
type Proxy struct {
	mu      sync.Mutex
	targets []string
}

// Serve runs a proxy until the test ends, for connections of a listener, which it closes. With a user it wants the password.
// dial connects to a target, HOST:PORT; a host that was given by name is a name.
func Serve(t interface{ Cleanup(func()) }, ln net.Listener, user, password string, dial func(ctx context.Context, target string) (net.Conn, error)) *Proxy {
	p := &Proxy{}
	options := []socks5.Option{
		socks5.WithResolver(unresolved{}),
		socks5.WithDialAndRequest(func(ctx context.Context, _, _ string, r *socks5.Request) (net.Conn, error) {
			target := r.RawDestAddr.String() // With the name, if there is one.
			p.mu.Lock()
			p.targets = append(p.targets, target)
			p.mu.Unlock()
			return dial(ctx, target)
		}),
	}
	if user != "" {
		options = append(options, socks5.WithCredential(socks5.StaticCredentials{user: password}))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = socks5.NewServer(options...).Serve(ln)
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return p
}

// Targets are those that were asked for since the last call.
func (p *Proxy) Targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.targets = nil }()
	return p.targets
}

// unresolved leaves names to dial.
type unresolved struct{}

func (unresolved) Resolve(ctx context.Context, _ string) (context.Context, net.IP, error) {
	return ctx, nil, nil
}
