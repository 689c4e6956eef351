package dataplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// guests is a runtime whose sandboxes all run, and answer with answer on each
// connection, behind the head of the request.
type guests struct {
	piped
	answer func(id string, c net.Conn)
}

func (g *guests) Get(_ context.Context, id string) (sandbox.Sandbox, error) {
	return sandbox.Sandbox{ID: id, State: sandbox.StateRunning, StartedAt: time.Unix(1, 0)}, nil
}

func (g *guests) Dial(_ context.Context, id string, _ uint16) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
			g.answer(id, far)
		}
	}()
	return near, nil
}

// recorder ignores interim answers.
type recorder struct{ *httptest.ResponseRecorder }

func (r recorder) WriteHeader(code int) {
	if code >= 200 {
		r.ResponseRecorder.WriteHeader(code)
	}
}

// serveOne has the proxy carry a request to a port of the sandbox, as a server does.
func serveOne(p *Proxy, id string, port uint16) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{}))
	p.Serve(recorder{w}, r, route.Target{ID: id, Port: port})
	return w
}

func writes(text string) func(string, net.Conn) {
	return func(_ string, c net.Conn) { _, _ = io.WriteString(c, text) }
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"

func TestAnswerHeadsAreBounded(t *testing.T) {
	fields := func(n, length int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-%d: %s\r\n", i, strings.Repeat("a", length))
		}
		return b.String()
	}
	interim := func(head string) string { return "HTTP/1.1 103 Early Hints\r\n" + head + "\r\n" }
	tests := []struct {
		name, answer string
		code         int
		body         string
	}{
		{"ordinary", ok + "\r\nhi", 200, "hi"},
		{"large", ok + fields(4, 16000) + "\r\nhi", 200, "hi"},
		{"too large", ok + fields(3, 60000) + "\r\nhi", 502, "too large"},
		{"one field too large", ok + fields(1, 200000) + "\r\nhi", 502, "too large"},
		{"too many fields", ok + fields(2000, 0) + "\r\nhi", 502, "too large"},
		{"an endless status line", "HTTP/1.1 200 " + strings.Repeat("a", 200000), 502, "too large"},
		{"interim answers without number", strings.Repeat(interim(fields(2, 500)), 1000) + ok + "\r\nhi", 200, "hi"},
		{"interim, spaces in its status", strings.Repeat("HTTP/1.1   103   x\r\nA: "+strings.Repeat("a", 1000)+"\r\n\r\n", 200) + ok + "\r\nhi", 200, "hi"},
		{"an interim answer too large", interim(fields(3, 60000)) + ok + "\r\nhi", 502, "too large"},
		{"a body of lines", "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("\n", 300000), 200, "\n\n"},
		{"a chunk extension without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("a", 200000), 0, ""},
		{"chunk extensions without number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 1000), 0, ""},
		{"trailers too large", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + fields(3, 60000) + "\r\n", 0, ""},
	}
	for _, port := range []uint16{80, envd.Port} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, port %d", tt.name, port), func(t *testing.T) {
				p := New(&guests{answer: writes(tt.answer)}, slog.New(slog.DiscardHandler))
				defer p.Close()
				defer func() {
					if p.heads.Used() != 0 {
						t.Errorf("%d bytes are still held", p.heads.Used())
					}
					if broken := recover(); (broken != nil) != (tt.code == 0) {
						t.Errorf("the answer broke off: %v", broken)
					}
				}()
				if tt.code == 0 {
					serveOne(p, "i0", port)
					return
				}
				w := serveOne(p, "i0", port)
				if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.body) {
					t.Errorf("%d %.200s", w.Code, w.Body)
				}
			})
		}
	}
}

func TestHalfAHeadIsNotWaitedFor(t *testing.T) {
	tests := []struct {
		name   string
		answer func(string, net.Conn)
		code   int
		after  time.Duration
	}{
		{"a long poll", func(_ string, c net.Conn) { time.Sleep(time.Hour); _, _ = io.WriteString(c, ok+"\r\nhi") }, 200, time.Hour},
		{"a long poll behind an interim answer", func(_ string, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n")
			time.Sleep(time.Hour)
			_, _ = io.WriteString(c, ok+"\r\nhi")
		}, 200, time.Hour},
		{"a slow body", func(_ string, c net.Conn) {
			_, _ = io.WriteString(c, ok+"\r\nh")
			time.Sleep(time.Hour)
			_, _ = io.WriteString(c, "i")
		}, 200, time.Hour},
		{"half a head", func(_ string, c net.Conn) { _, _ = io.WriteString(c, ok); time.Sleep(time.Hour) }, 502, headTime},
		{"half a status line", func(_ string, c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1"); time.Sleep(time.Hour) }, 502, headTime},
		{"half a head behind an interim answer", func(_ string, c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n"+ok)
			time.Sleep(time.Hour)
		}, 502, headTime},
		{"drop by drop", func(_ string, c net.Conn) {
			for _, b := range []byte(ok + "\r\nhi") {
				_, _ = c.Write([]byte{b})
				time.Sleep(time.Second)
			}
		}, 502, headTime},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(&guests{answer: tt.answer}, slog.New(slog.DiscardHandler))
				defer p.Close()
				begin := time.Now()
				w := serveOne(p, "i0", 80)
				if w.Code != tt.code || time.Since(begin) != tt.after {
					t.Errorf("%d after %v: %s", w.Code, time.Since(begin), w.Body)
				}
				time.Sleep(time.Hour) // The program ends.
			})
		})
	}
}

// Heads that one sandbox does not finish take nothing from another, nor from its
// own ordinary answers.
func TestHeadsInFlightAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := ok + "X: " + strings.Repeat("a", 50000) + "\r\n"
		rt := &guests{}
		p := New(rt, slog.New(slog.DiscardHandler))
		defer p.Close()
		p.heads = quota.NewBudget(200000, 100000)
		stop := make(chan struct{})
		rt.answer = func(_ string, c net.Conn) { _, _ = io.WriteString(c, large); <-stop }
		codes := make(chan int)
		for _, id := range []string{"i0", "i0", "i1"} {
			go func() { codes <- serveOne(p, id, 80).Code }()
		}
		synctest.Wait()
		rt.answer = writes(large + "\r\nhi")
		if w := serveOne(p, "i0", 80); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("more than its share: %d %s", w.Code, w.Body)
		}
		if w := serveOne(p, "i1", 80); w.Code != 200 {
			t.Errorf("another sandbox: %d %s", w.Code, w.Body)
		}
		rt.answer = writes(ok + "\r\nhi")
		if w := serveOne(p, "i0", 80); w.Code != 200 {
			t.Errorf("an ordinary answer: %d %s", w.Code, w.Body)
		}
		for range 3 {
			if code := <-codes; code != 502 {
				t.Errorf("half a head: %d", code)
			}
		}
		close(stop)
		if p.heads.Used() != 0 {
			t.Errorf("%d bytes are still held", p.heads.Used())
		}
	})
}

// An interim answer is followed by another head; 101 hands the connection over.
func TestTheLastHeadOfAnAnswer(t *testing.T) {
	for status, last := range map[string]bool{"100": false, "103": false, "199": false, "101": true, "200": true, "404": true} {
		var s headScan
		for rest := []byte("HTTP/1.1 " + status + " x\r\nA: b\r\n\r\n"); len(rest) > 0; {
			rest = s.take(rest)
		}
		if !s.ended || s.done != last {
			t.Errorf("%s: ended %v, the last %v", status, s.ended, s.done)
		}
	}
}

// Where the scan sees the last head end, net/http has one that is whole or wrong.
func FuzzHeadScan(f *testing.F) {
	f.Add([]byte(ok+"\r\nhi"), 3)
	f.Add([]byte("HTTP/1.1  103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\n\n"), 7)
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\n \r\nc: d\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		end := func(step int) int {
			var s headScan
			for at := 0; at < len(b); at += step {
				for rest := b[at:min(len(b), at+step)]; len(rest) > 0; {
					left := s.take(rest)
					if s.done {
						return min(len(b), at+step) - len(left)
					}
					rest = left
				}
			}
			return -1
		}
		n := end(len(b) + 1)
		if got := end(max(1, step%64)); got != n {
			t.Fatalf("in pieces the end is at %d, in one at %d", got, n)
		}
		if n < 0 {
			return
		}
		br := bufio.NewReader(strings.NewReader(string(b[:n])))
		for {
			resp, err := http.ReadResponse(br, nil)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%q is not a whole head", b[:n])
			}
			if err != nil || resp.StatusCode/100 != 1 || resp.StatusCode == 101 {
				return
			}
		}
	})
}
