package e2b

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// raw sends a request on a new connection, reads the head of the answer,
// and keeps the connection.
func (n *node) raw(request string) (net.Conn, *http.Response) {
	n.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	if request == "" {
		return c, nil
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		n.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		n.t.Fatalf("%q: %v", request, err)
	}
	return c, resp
}

const healthRequest = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

func TestThoseWithAKeyAlwaysGetIn(t *testing.T) {
	const most = 16
	n := newNode(t, Config{MaxConnections: most})
	id := n.sandbox()
	_, withKey := n.raw("GET /sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: " + n.key + "\r\n\r\n")
	if withKey.StatusCode != 200 {
		t.Fatal(withKey.Status)
	}
	lines := n.stream(t.Context(), id)
	var idle []net.Conn
	for i := range 10 * most {
		request := healthRequest
		if i%3 == 0 {
			request = "" // It connects and says nothing.
		}
		c, _ := n.raw(request)
		idle = append(idle, c)
	}
	for range 3 * most {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", n.url+"/sandboxes", nil)
		req.Header.Set("X-API-Key", n.key)
		req.Close = true // Forces a new connection.
		if r := n.send(req); r.code != 200 {
			t.Fatalf("%d %s", r.code, r.body)
		}
	}
	ended := make(chan struct{}, len(idle))
	for _, c := range idle {
		go func() {
			_ = c.SetReadDeadline(time.Time{})
			_, _ = io.Copy(io.Discard, c)
			ended <- struct{}{}
		}()
	}
	within(t, time.Minute, "the end of all idle connections but those that there is room for", func() {
		for range len(idle) - most {
			<-ended
		}
	})
	// A stream of one that knows a sandbox is not what made room.
	done := make(chan error, 1)
	go func() { _, err := lines.ReadString('\n'); done <- err }()
	if r := n.plain("POST", "/echo", toAgent(id)...); r.code != 200 {
		t.Errorf("%d %s", r.code, r.body)
	}
	select {
	case err := <-done:
		t.Errorf("the stream was broken off: %v", err)
	default:
	}
}

// Whatever a connection was used for, it is not counted any more in the end.
func TestEveryConnectionIsCountedOnce(t *testing.T) {
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	for _, kind := range []string{"http1", "h2c", "tls", "upgrade"} {
		t.Run(kind, func(t *testing.T) {
			rt := &fakeruntime.Runtime{}
			sb, err := rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Timeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			rt.Listen(sb.ID, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") == "" {
					return
				}
				c, _, _ := http.NewResponseController(w).Hijack()
				fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				io.Copy(io.Discard, c)
				c.Close()
			}))
			s := NewServer(Config{Domain: "sb.test"}, rt, &MemoryKeys{})
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := ln.Addr().String()
			transport := &http.Transport{Protocols: new(http.Protocols)}
			scheme := "http"
			switch kind {
			case "tls":
				scheme = "https"
				ln = tls.NewListener(ln, &tls.Config{Certificates: ca.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
				transport.TLSClientConfig = ca.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
				transport.Protocols.SetHTTP2(true)
			case "h2c":
				transport.Protocols.SetUnencryptedHTTP2(true)
			default:
				transport.Protocols.SetHTTP1(true)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(t.Context(), ln) }()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", scheme+"://"+address+"/", nil)
			req.Header.Set(envd.SandboxIDHeader, sb.ID)
			req.Header.Set(envd.SandboxPortHeader, "80")
			if kind == "upgrade" {
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", "x")
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if n := s.conns.Len(); n != 1 {
				t.Errorf("%d are counted while one is open", n)
			}
			resp.Body.Close()
			transport.CloseIdleConnections()
			within(t, time.Minute, "the end of the connection", func() {
				look := time.NewTicker(time.Millisecond)
				defer look.Stop()
				for s.conns.Len() != 0 {
					<-look.C
				}
			})
		})
	}
}
