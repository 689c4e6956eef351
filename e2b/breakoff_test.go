package e2b

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

// unending answers with an endless stream, in three forms.
func unending(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/upgrade" {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "1000")
		}
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nbegin")
	_, _ = io.Copy(io.Discard, c)
}

// newNodeWith is a node with or without TLS that gives no grace.
func newNodeWith(t *testing.T, secure bool) *node {
	cfg := Config{Grace: time.Millisecond}
	if !secure {
		return newNode(t, cfg)
	}
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	return newNodeOver(t, cfg, "https", func(ln net.Listener) net.Listener {
		return tls.NewListener(ln, &tls.Config{Certificates: ca.TLS.Certificates, NextProtos: []string{"http/1.1"}})
	})
}

// TestAStreamThatIsBrokenOffIsReset: over HTTP/1 a client takes any other end of the
// connection for a mistake of the server.
func TestAStreamThatIsBrokenOffIsReset(t *testing.T) {
	ways := map[string]func(n *node, id string){
		"killed":       func(n *node, id string) { n.do("DELETE", "/sandboxes/"+id, "") },
		"timed out":    func(n *node, id string) { _ = n.Kill(context.Background(), id) },
		"paused":       func(n *node, id string) { n.do("POST", "/sandboxes/"+id+"/pause", "") },
		"the end":      func(n *node, _ string) { n.cancel() },
		"vanished":     func(n *node, id string) { n.Silent = true; _ = n.Kill(context.Background(), id) },
		"slept silent": func(n *node, id string) { n.Silent = true; n.do("POST", "/sandboxes/"+id+"/pause", "") },
	}
	for name, end := range ways {
		for _, path := range []string{"/chunks", "/length", "/upgrade"} {
			for _, secure := range []bool{false, true} {
				t.Run(fmt.Sprint(name, path, secure), func(t *testing.T) {
					n := newNodeWith(t, secure)
					id := n.sandbox()
					n.Listen(id, 80, http.HandlerFunc(unending))
					_, addr, _ := strings.Cut(n.url, "://")
					raw, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					defer raw.Close()
					_ = raw.SetDeadline(time.Now().Add(time.Minute))
					c := raw
					if secure {
						c = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
					}
					fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 80-%s.e2b.test\r\n", path, id)
					if path == "/upgrade" {
						fmt.Fprint(c, "Connection: Upgrade\r\nUpgrade: x\r\n")
					}
					fmt.Fprint(c, "\r\n")
					var got bytes.Buffer
					for !strings.Contains(got.String(), "begin") {
						if _, err := io.CopyN(&got, c, 1); err != nil {
							t.Fatalf("%q, %v", got.String(), err)
						}
					}
					end(n, id)
					if _, err = io.Copy(&got, c); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("%q, then %v", got.String(), err)
					}
				})
			}
		}
	}
}

// TestAClientThatWaitsToSendItsBodyDoesNotWaitForTheEndOfTheAnswer: a refused client
// before it has sent anything sends nothing.
func TestAClientThatWaitsToSendItsBodyDoesNotWaitForTheEndOfTheAnswer(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_ = http.NewResponseController(w).Flush() // Its length is not known.
		_, _ = io.WriteString(w, "much")
	}))
	for _, length := range []string{"Content-Length: 100000", "Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		ask := func() (took time.Duration) {
			c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			begin := time.Now()
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: 80-%s.e2b.test\r\nExpect: 100-continue\r\n%s\r\n\r\n", id, length)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%s: %v", length, err)
			}
			if b, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(b) != "much" || err != nil {
				t.Errorf("%s: %d %q, %v", length, resp.StatusCode, b, err)
			}
			return time.Since(begin)
		}
		// Less than the time that is given to a body that was asked for, which each
		// answer would take; a busy machine takes longer for one now and then.
		const most = 4 * time.Second
		least := ask()
		for range 4 {
			if least < most {
				break
			}
			least = min(least, ask())
		}
		if least >= most {
			t.Errorf("%s: five answers took %v or more", length, least)
		}
	}
}

// TestAnAnswerThatComesBeforeTheBodyWasReadArrives: a program that does not want a
// body says so and closes.
func TestAnAnswerThatComesBeforeTheBodyWasReadArrives(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")
		c.Close() // With most of the body unread: the rest is met with a reset.
	}))
	for _, size := range []int{100 << 10, 1 << 20, 8 << 20} {
		for range 10 {
			c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(c, "POST /%s HTTP/1.1\r\nHost: 80-%s.e2b.test\r\nContent-Length: %d\r\n\r\n", envd.SandboxIDHeader, id, size)
			// As clients do that read the answer when all is sent.
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			b, err := io.ReadAll(resp.Body)
			if resp.StatusCode != 413 || string(b) != "much" || err != nil {
				t.Errorf("%d bytes: %d %q, %v", size, resp.StatusCode, b, err)
			}
			c.Close()
		}
	}
}
