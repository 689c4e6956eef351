package e2b

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/envd"
)

// h2c makes the client of the node speak HTTP/2 without TLS.
func (n *node) h2c() {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	n.t.Cleanup(tr.CloseIdleConnections)
	n.client = &http.Client{Transport: tr}
}

func eachProtocol(t *testing.T, test func(t *testing.T, n *node)) {
	t.Run("http1", func(t *testing.T) { test(t, newNode(t, Config{})) })
	t.Run("h2c", func(t *testing.T) {
		n := newNode(t, Config{})
		n.h2c()
		test(t, n)
	})
}

// stream opens /stream of the agent and reads its first line. It may be called
// from any goroutine.
func (n *node) stream(ctx context.Context, id string) *bufio.Reader {
	n.t.Helper()
	req, _ := http.NewRequestWithContext(ctx, "GET", n.url+"/stream", nil)
	req.Header.Set(envd.SandboxIDHeader, id)
	req.Header.Set(envd.SandboxPortHeader, "49983")
	resp, err := n.client.Do(req)
	if err != nil {
		n.t.Error(err)
		return bufio.NewReader(strings.NewReader(""))
	}
	n.t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || line != "first\n" {
		n.t.Errorf("%q, %v", line, err)
	}
	return body
}

// within fails the test if f is not done in time.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s took longer than %s", what, d)
	}
}

func TestKillBreaksStreams(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent=%v", silent), func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, n *node) {
				n.Silent = silent
				id := n.sandbox()
				body := n.stream(t.Context(), id)
				if r := n.do("DELETE", "/sandboxes/"+id, ""); r.code != 204 {
					t.Fatalf("%d %s", r.code, r.body)
				}
				within(t, time.Minute, "the end of the stream", func() {
					if rest, err := io.ReadAll(body); err == nil || len(rest) > 0 {
						t.Errorf("a killed stream looks complete: %q, %v", rest, err)
					}
				})
				if r := n.plain("GET", "/health", toAgent(id)...); r.code != 502 {
					t.Errorf("health after it: %d %s", r.code, r.body)
				}
			})
		})
	}
}

// The runtime ends sandboxes without a request, and a machine may vanish without a word
// on its connections.
func TestTimeoutBreaksStreams(t *testing.T) {
	n := newNode(t, Config{})
	n.Silent = true
	id := n.sandbox()
	body := n.stream(t.Context(), id)
	if err := n.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "the end of the stream", func() {
		if _, err := io.ReadAll(body); err == nil {
			t.Error("the stream of a vanished sandbox looks complete")
		}
	})
}

func TestClientThatLeavesCancels(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		left := make(chan struct{})
		mux := http.NewServeMux()
		mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			close(left)
		})
		n.Listen(id, 80, mux)
		ctx, leave := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", n.url+"/wait", nil)
		req.Header.Set(envd.SandboxIDHeader, id)
		req.Header.Set(envd.SandboxPortHeader, "80")
		resp, err := n.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		leave()
		within(t, time.Minute, "the program's notice of it", func() { <-left })
	})
}

func TestLargeBody(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		sent := make([]byte, 20<<20)
		_, _ = rand.Read(sent)
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/echo", bytes.NewReader(sent))
		r := n.send(req, toAgent(id)...)
		if r.code != 200 || !bytes.Equal([]byte(r.body), sent) {
			t.Errorf("%d, %d bytes came back of %d", r.code, len(r.body), len(sent))
		}
	})
}

func TestUpgrade(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, "echo "+line)
		// Until the other side closes.
		_, _ = io.Copy(io.Discard, rw)
	}))
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: 80-%s.e2b.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", id)
	rd := bufio.NewReader(c)
	resp, err := http.ReadResponse(rd, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(c, "hello\n")
	if line, err := rd.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	n.do("DELETE", "/sandboxes/"+id, "")
	within(t, time.Minute, "the end of the connection", func() { _, _ = io.ReadAll(rd) })
}

func TestGRPC(t *testing.T) {
	n := newNode(t, Config{})
	n.h2c()
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.WriteString(w, r.Proto)
		w.Header().Set("Grpc-Status", "0")
	}))
	for contentType, proto := range map[string]string{"application/grpc+proto": "HTTP/2.0", "text/plain": "HTTP/1.1"} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", nil)
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Te", "trailers")
		req.Header.Set(envd.SandboxIDHeader, id)
		req.Header.Set(envd.SandboxPortHeader, "80")
		resp, err := n.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != proto || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s went over %q, trailer %v", contentType, b, resp.Trailer)
		}
	}
}

func TestGRPCHeadsAreBounded(t *testing.T) {
	n := newNode(t, Config{})
	n.h2c()
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		length, _ := strconv.Atoi(r.URL.Query().Get("length"))
		large := strings.Repeat("a", length)
		if r.URL.Path == "/trailer" {
			w.Header().Set("Trailer", "X")
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X", large)
	}))
	for _, tt := range []struct {
		path string
		ok   bool
	}{{"/header?length=8000", true}, {"/header?length=20000", false}, {"/trailer?length=8000", true}, {"/trailer?length=20000", false}} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+tt.path, nil)
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set(envd.SandboxIDHeader, id)
		req.Header.Set(envd.SandboxPortHeader, "80")
		resp, err := n.client.Do(req)
		ok := err == nil && resp.StatusCode == 200
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if ok = ok && err == nil; ok != tt.ok {
			t.Errorf("%s: %v, %v", tt.path, ok, err)
		}
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestEndlessBody(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		for _, path := range []string{"/v2/sandboxes", "/sandboxes/i0/timeout", "/nothing", "/sandboxes/i0/pause"} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+path, endless{})
			req.Header.Set("X-API-Key", n.key)
			within(t, exchange.BodyTime-time.Second, path, func() {
				resp, err := n.client.Do(req)
				if err != nil {
					// The server may close while the client still writes.
					return
				}
				defer resp.Body.Close()
				if resp.StatusCode < 400 {
					t.Errorf("%s: %d", path, resp.StatusCode)
				}
			})
		}
	})
}

// TestNothingIsLeft counts goroutines around everything that can go wrong.
func TestNothingIsLeft(t *testing.T) {
	before := goruntime.NumGoroutine()
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 100 {
					req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/echo", strings.NewReader("hello"))
					req.Header.Set(envd.SandboxIDHeader, id)
					req.Header.Set(envd.SandboxPortHeader, "49983")
					resp, err := n.client.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					b, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					if string(b) != "hello" {
						t.Errorf("%d %q", resp.StatusCode, b)
					}
				}
			})
		}
		for range 20 {
			wg.Go(func() {
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				n.stream(ctx, id)
			})
			wg.Go(func() {
				// An upload that never ends, until its client leaves.
				ctx, leave := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer leave()
				req, _ := http.NewRequestWithContext(ctx, "POST", n.url+"/echo", endless{})
				req.Header.Set(envd.SandboxIDHeader, id)
				req.Header.Set(envd.SandboxPortHeader, "49983")
				resp, err := n.client.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("an endless upload ended with %v", err)
				}
			})
		}
		wg.Wait()
		n.stop()
	})
	noMoreGoroutines(t, before)
}

// noMoreGoroutines waits until there are at most as many as before. It looks again and again: nothing reports that a
// goroutine has ended.
func noMoreGoroutines(t *testing.T, before int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for goruntime.NumGoroutine() > before {
		select {
		case <-deadline:
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after\n%s", before, goruntime.NumGoroutine(), buf[:goruntime.Stack(buf, true)])
		case <-tick.C:
		}
	}
}
