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
	"testing/iotest"
)

// endless is an archive that is larger than any buffer on its way.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCopySendsAnArchive(t *testing.T) {
	g := answer(done)
	sent := CopyRequest{Source: "a b\n&c=ü", Destination: "~/x/", Workdir: "/w", User: "u", Owner: "u:g", Mode: "0755"}
	text := strings.Repeat("archive", 100_000)
	if err := Copy(t.Context(), g.dial, "token", sent, iotest.HalfReader(strings.NewReader(text))); err != nil {
		t.Fatal(err)
	}
	g.wantClosed(t)
	req, body := <-g.requests, <-g.bodies
	if req.Method != "POST" || req.URL.Path != CopyPath || req.Header.Get("X-Control-Token") != "token" || !req.Close || body != text {
		t.Errorf("%s %s %v, %d bytes", req.Method, req.URL, req.Header, len(body))
	}
	var got CopyRequest
	if err := json.Unmarshal([]byte(req.URL.Query().Get("request")), &got); err != nil || got != sent {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCopyReportsAnswers(t *testing.T) {
	const head = "HTTP/1.1 "
	for text, want := range map[string]struct {
		is      error
		status  int
		message string
	}{
		head + "400 Bad Request\r\nContent-Length: 41\r\n\r\n{\"code\":400,\"message\":\"no files matched\"}": {nil, 400, "no files matched"},
		head + "404 Not Found\r\n\r\n404 page not found\n":                                                    {nil, 404, "404 page not found"},
		head + "401 Unauthorized\r\n\r\n{\"message\":\"invalid control token\"}":                              {ErrUnauthorized, 401, "invalid control token"},
		head + "200 OK\r\n\r\n": {nil, 200, ""},
		"":                      {is: ErrUnreachable},
		"garbage\r\n\r\n":       {is: ErrUnreachable},
		head + "204 No Content\r\n" + strings.Repeat("X: y\r\n", maxReply): {is: ErrUnreachable},
	} {
		g := newGuest(func(c net.Conn) { io.WriteString(c, text); c.Close() })
		err := Copy(t.Context(), g.dial, "c", CopyRequest{}, strings.NewReader("archive"))
		g.wantClosed(t)
		var s *StatusError
		if errors.As(err, &s); err == nil || want.is != nil && !errors.Is(err, want.is) || (s != nil) != (want.status != 0) ||
			s != nil && (s.Status != want.status || s.Message != want.message || s.Op != "copy") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	unreachable := func(context.Context) (net.Conn, error) { return nil, io.ErrClosedPipe }
	if err := Copy(t.Context(), unreachable, "c", CopyRequest{}, endless{}); !errors.Is(err, ErrUnreachable) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("no connection: %v", err)
	}
}

// headOf reads the head of a request, and nothing of its body.
func headOf(c net.Conn) *bufio.Reader {
	br := bufio.NewReaderSize(c, 4<<10)
	_, _ = http.ReadRequest(br)
	return br
}

// An agent that refuses reads no further: its answer counts, and an approval does not.
func TestCopyEndsWithAnEarlyAnswer(t *testing.T) {
	for text, want := range map[string]int{"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 18\r\n\r\n{\"message\":\"full\"}": 507, done: 0} {
		near, far := net.Pipe()
		defer far.Close() // Until then it neither reads nor ends the connection.
		go func() {
			headOf(far)
			io.WriteString(far, text)
		}()
		err := Copy(t.Context(), func(context.Context) (net.Conn, error) { return near, nil }, "c", CopyRequest{}, endless{})
		var s *StatusError
		if errors.As(err, &s); err == nil || want != 0 && (s == nil || s.Status != want) || want == 0 && !errors.Is(err, ErrUnreachable) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// An archive that cannot be read does not look like one that is complete.
func TestCopyOfABrokenArchive(t *testing.T) {
	near, far := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer far.Close()
		req, err := http.ReadRequest(bufio.NewReader(far))
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		ended <- err
	}()
	broken := errors.New("disk on fire")
	err := Copy(t.Context(), func(context.Context) (net.Conn, error) { return near, nil }, "c", CopyRequest{}, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the agent takes it for complete")
	}
}

func TestCopyEndsWithItsContext(t *testing.T) {
	for name, agent := range map[string]func(far net.Conn, hangs func()){
		"reads nothing":   func(_ net.Conn, hangs func()) { hangs() },
		"reads the head":  func(far net.Conn, hangs func()) { headOf(far); hangs() },
		"never answers":   func(far net.Conn, hangs func()) { br := headOf(far); hangs(); io.Copy(io.Discard, br) },
		"answers in part": func(far net.Conn, hangs func()) { headOf(far); io.WriteString(far, "HTTP/1.1 2"); hangs() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		near, far := net.Pipe()
		go agent(far, cancel)
		err := Copy(ctx, func(context.Context) (net.Conn, error) { return near, nil }, "c", CopyRequest{}, endless{})
		if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		far.Close()
	}
}
