package network

import (
	"context"
	"net"
	"sync"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/socks"
	"github.com/rundlet/rundlet/network/socks/sockstest"
)

// proxies runs a SOCKS5 proxy in the outer namespace, on port 1080 of an address. It looks names up in the world's zone.
func (w *world) proxies(addr string) *sockstest.Proxy {
	w.t.Helper()
	var ln net.Listener
	w.in(w.outer, func() (err error) {
		ln, err = net.Listen("tcp", addr+":1080")
		return err
	})
	return sockstest.Serve(w.t, ln, "", "", func(ctx context.Context, target string) (c net.Conn, err error) {
		host, port, _ := net.SplitHostPort(target)
		if w.zone != nil {
			w.zone.mu.Lock()
			if addrs := w.zone.hosts[host]; len(addrs) > 0 {
				host = addrs[0]
			}
			w.zone.mu.Unlock()
		}
		err = namespace.In(w.outer, func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
			return err
		})
		return c, err
	})
}

// through is a policy whose connections go through the proxy of an address.
func through(p Policy, addr string) Policy {
	p.Proxy = socks.Proxy{Host: addr, Port: 1080}
	return p
}

// witness serves TCP on a port of the outer namespace, and keeps where connections came from.
type witness struct {
	net.Listener
	mu   sync.Mutex
	from []string
}

func (l *witness) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.from = append(l.from, c.RemoteAddr().(*net.TCPAddr).IP.String())
		l.mu.Unlock()
	}
	return c, err
}

// direct is how many connections came from the host, and not from a proxy. They are forgotten.
func (l *witness) direct() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, from := range l.from {
		if from == hostIP {
			n++
		}
	}
	l.from = nil
	return n
}

func (w *world) witness(port string) *witness {
	w.t.Helper()
	l := &witness{}
	w.in(w.outer, func() (err error) {
		l.Listener, err = net.Listen("tcp", port)
		return err
	})
	w.t.Cleanup(func() { l.Close() })
	go serveTCP(l)
	return l
}
