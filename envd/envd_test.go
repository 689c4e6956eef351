package envd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// guest answers each connection with serve, on the other end of a pipe. It
// reports the requests and whether the client closed its end.
type guest struct {
	serve    func(net.Conn)
	requests chan *http.Request
	bodies   chan string
	closed   chan struct{}
}

func newGuest(serve func(net.Conn)) *guest {
	return &guest{serve: serve, requests: make(chan *http.Request, 1), bodies: make(chan string, 1), closed: make(chan struct{})}
}

func answer(text string) *guest {
	return newGuest(func(c net.Conn) { io.WriteString(c, text) })
}

func (g *guest) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer close(g.closed)
		defer far.Close()
		br := bufio.NewReader(far)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		g.requests <- req
		g.bodies <- string(body)
		g.serve(far)
		io.Copy(io.Discard, far) // until the client is gone
	}()
	return near, nil
}

func (g *guest) wantClosed(t *testing.T) {
	t.Helper()
	select {
	case <-g.closed:
	case <-time.After(time.Minute):
		t.Error("the connection was not closed")
	}
}

const done = "HTTP/1.1 204 No Content\r\n\r\n"

func TestInit(t *testing.T) {
	for _, tc := range []struct{ control, current, shown string }{
		{"new", "", "new"}, {"new", "old", "old"},
	} {
		g := answer(done)
		sent := InitRequest{
			Env: map[string]string{"K": "V"}, AccessToken: "a", Timestamp: time.Unix(1, 5).UTC(), SandboxID: "i",
			ControlToken: tc.control, CurrentToken: tc.current, RandomSeed: []byte{1, 2},
		}
		if err := Init(t.Context(), g.dial, sent); err != nil {
			t.Fatal(err)
		}
		g.wantClosed(t)
		req, body := <-g.requests, <-g.bodies
		if req.Method != "POST" || req.URL.Path != InitPath || req.Header.Get(ControlTokenHeader) != tc.shown || !req.Close {
			t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
		}
		if strings.Contains(body, "old") {
			t.Errorf("the current token is in the body: %s", body)
		}
		var got InitRequest
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if got.Env["K"] != "V" || got.AccessToken != "a" || !got.Timestamp.Equal(sent.Timestamp) || got.ControlToken != "new" ||
			got.SandboxID != "i" || string(got.RandomSeed) != "\x01\x02" {
			t.Errorf("delivered %+v", got)
		}
	}
}

// A zero timestamp must not set a guest's clock to the year 1.
func TestNothingIsSentOfWhatIsNotSet(t *testing.T) {
	g := answer(done)
	if err := Init(t.Context(), g.dial, InitRequest{ControlToken: "c"}); err != nil {
		t.Fatal(err)
	}
	if body := <-g.bodies; body != `{"controlToken":"c"}` {
		t.Errorf("body %s", body)
	}
}

func TestReplies(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, tc := range map[string]struct {
		reply  string
		is     error
		status int // of a StatusError
		text   string
	}{
		"done":                   {reply: done},
		"refused":                {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", ErrUnauthorized, 401, "refused the control token"},
		"message":                {"HTTP/1.1 500 X\r\n\r\n" + `{"code":500,"message":"no clock"}`, nil, 500, "agent health: status 500: no clock"},
		"plain text":             {"HTTP/1.1 500 X\r\nContent-Length: 6\r\n\r\n oops\n", nil, 500, "status 500: oops"},
		"endless text":           {"HTTP/1.1 500 X\r\n\r\n" + long, nil, 500, "status 500: xxx"},
		"unexpected success":     {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", nil, 200, "status 200"},
		"a closed port means it": {"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", nil, 502, "status 502"},
		"nothing":                {"", ErrUnreachable, 0, "unexpected EOF"},
		"half a head":            {"HTTP/1.1 204", ErrUnreachable, 0, ""},
		"no HTTP":                {"SSH-2.0-OpenSSH\r\n\r\n", ErrUnreachable, 0, "malformed HTTP"},
		"endless head":           {"HTTP/1.1 204 No Content\r\nX: " + long, ErrUnreachable, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(nil)
			taken := 0
			g.serve = func(c net.Conn) {
				taken, _ = io.WriteString(c, tc.reply)
				c.Close()
			}
			err := Health(t.Context(), g.dial)
			g.wantClosed(t)
			if taken > maxReply {
				t.Errorf("%d bytes of a reply were read", taken)
			}
			if name == "done" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %.200v", err)
			}
			var status *StatusError
			if errors.As(err, &status) != (tc.status != 0) || status != nil && status.Status != tc.status {
				t.Errorf("error %.200v, want status %d", err, tc.status)
			}
			if err != nil && len(err.Error()) > 8<<10 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if errors.Is(err, ErrPortClosed) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	refused := errors.New("refused")
	dial := func(context.Context) (net.Conn, error) { return nil, refused }
	_, portErr := DialPort(t.Context(), dial, "c", 80)
	for _, err := range []error{Health(t.Context(), dial), Init(t.Context(), dial, InitRequest{}), portErr} {
		if !errors.Is(err, ErrUnreachable) || !errors.Is(err, refused) {
			t.Errorf("%v", err)
		}
	}
}

// An agent that never answers, and one that never reads, cost the caller its
// own deadline and nothing more.
func TestDeadline(t *testing.T) {
	silent := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			http.ReadRequest(bufio.NewReader(far))
			io.Copy(io.Discard, far)
		}()
		return near, nil
	}
	deaf := func(context.Context) (net.Conn, error) {
		near, _ := net.Pipe()
		return near, nil
	}
	for name, dial := range map[string]Dial{"silent": silent, "deaf": deaf} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begin := time.Now()
				err := Health(ctx, dial)
				if took := time.Since(begin); took != 3*time.Second {
					t.Errorf("took %v", took)
				}
				if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + DialUpgrade + "\r\n\r\n"

func TestDialPort(t *testing.T) {
	// The first bytes may come in one packet with the reply.
	g := newGuest(func(c net.Conn) {
		io.WriteString(c, upgraded+"early")
		io.WriteString(c, " late\n")
		io.Copy(c, c)
	})
	conn, err := DialPort(t.Context(), g.dial, "secret", 8080)
	if err != nil {
		t.Fatal(err)
	}
	req := <-g.requests
	if req.URL.Path != DialPath || req.URL.Query().Get("port") != "8080" || req.Header.Get(ControlTokenHeader) != "secret" || req.Header.Get("Upgrade") != DialUpgrade {
		t.Errorf("%s %v", req.URL, req.Header)
	}
	br := bufio.NewReader(conn)
	if line, err := br.ReadString('\n'); line != "early late\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	io.WriteString(conn, "there and back\n")
	if line, err := br.ReadString('\n'); line != "there and back\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	conn.Close()
	g.wantClosed(t)
}

func TestDialPortReplies(t *testing.T) {
	for name, tc := range map[string]struct {
		reply string
		want  error
	}{
		"closed":       {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", ErrPortClosed},
		"refused":      {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", ErrUnauthorized},
		"no upgrade":   {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", nil},
		"no reply":     {"", ErrUnreachable},
		"endless head": {"HTTP/1.1 101 X\r\nX: " + strings.Repeat("x", 1<<20), ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(nil)
			g.serve = func(c net.Conn) {
				io.WriteString(c, tc.reply)
				c.Close()
			}
			conn, err := DialPort(t.Context(), g.dial, "c", 1)
			if err == nil || conn != nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%v, %v", conn, err)
			}
			var status *StatusError
			if tc.want == nil && !errors.As(err, &status) {
				t.Errorf("%v", err)
			}
			g.wantClosed(t)
		})
	}
}

// The request's context bounds the handshake only: the connection outlives it.
func TestDialPortOutlivesItsContext(t *testing.T) {
	g := newGuest(func(c net.Conn) {
		io.WriteString(c, upgraded)
		io.Copy(c, c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := DialPort(ctx, g.dial, "c", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	io.WriteString(conn, "x")
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestCloseWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		br := bufio.NewReader(c)
		http.ReadRequest(br)
		io.WriteString(c, upgraded)
		io.Copy(io.Discard, br)
		io.WriteString(c, "after the end")
	}()
	conn, err := DialPort(t.Context(), func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}, "c", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); string(b) != "after the end" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// FuzzReply gives the client whatever a guest could send.
func FuzzReply(f *testing.F) {
	for _, s := range []string{done, upgraded + "x", "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"me", "HTTP/1.1 401 \r\nContent-Length: -1\r\n\r\n", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		one := func(context.Context) (net.Conn, error) { return &script{r: strings.NewReader(reply)}, nil }
		if err := Health(t.Context(), one); err != nil && len(err.Error()) > 80<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		conn, err := DialPort(t.Context(), one, "c", 1)
		if (conn == nil) == (err == nil) {
			t.Errorf("%v, %v", conn, err)
		}
	})
}

// script is a connection that takes everything and says one thing.
type script struct {
	net.Conn
	r *strings.Reader
}

func (s *script) Read(b []byte) (int, error) { return s.r.Read(b) }

func (s *script) Write(b []byte) (int, error) { return len(b), nil }

func (s *script) Close() error { return nil }

func (s *script) SetDeadline(time.Time) error { return nil }
