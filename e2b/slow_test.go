package e2b

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/conns"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
)

// pipes is a listener in memory, so that timeouts run on a clock of the test.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestSlowClients: none holds a connection for longer than it may, key or not.
func TestSlowClients(t *testing.T) {
	const post = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
	tests := []struct {
		name, send string
		// answer is in what comes back before the connection is closed.
		answer string
		most   time.Duration
	}{
		{"no header", "", "", idleTime},
		{"half a header", "GET / HTTP/1.1\r\nHo", "", conns.HeaderTime},
		{"half a body", strings.Replace(post, "%s", "/v2/sandboxes", 1) + "X-API-Key: $KEY\r\n\r\n{", "400 Bad Request", exchange.BodyTime},
		{"half a body, no key", strings.Replace(post, "%s", "/v2/sandboxes", 1) + "\r\n{", "401 Unauthorized", exchange.BodyTime},
		{"half a body, no route", strings.Replace(post, "%s", "/nothing", 1) + "X-API-Key: $KEY\r\n\r\n{", "404 Not Found", exchange.BodyTime},
		{"half a body for a sandbox that is gone", strings.Replace(post, "%s", "/echo", 1) +
			envd.SandboxIDHeader + ": i0\r\n" + envd.SandboxPortHeader + ": 49983\r\n\r\n{", "502 Bad Gateway", 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var keys MemoryKeys
				_, key, _ := keys.Create(t.Context(), "")
				ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- NewServer(Config{}, &fakeruntime.Runtime{}, &keys).Serve(ctx, ln) }()
				ours, theirs := net.Pipe()
				ln.conns <- theirs
				start := time.Now()
				if _, err := io.WriteString(ours, strings.Replace(tt.send, "$KEY", key, 1)); err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(ours)
				if d := time.Since(start); d > tt.most {
					t.Errorf("closed after %s, want %s at most", d, tt.most)
				}
				if !strings.Contains(string(got), tt.answer) {
					t.Errorf("answer %q, want %q", got, tt.answer)
				}
				ours.Close()
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
