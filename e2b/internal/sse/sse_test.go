package sse

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAStream(t *testing.T) {
	w := httptest.NewRecorder()
	s, err := Begin(w, "0")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.Send([]Message{{"1", map[string]string{"text": "two\nlines"}}, {"2", "x"}}), s.KeepAlive(), s.Send(nil)} {
		if err != nil {
			t.Error(err)
		}
	}
	s.End()
	want := "retry: 1000\nid: 0\n\nid: 1\ndata: {\"text\":\"two\\nlines\"}\n\nid: 2\ndata: \"x\"\n\n: keep-alive\n\n"
	if got := w.Body.String(); got != want || w.Header().Get("Content-Type") != "text/event-stream" || !w.Flushed {
		t.Errorf("%q, want %q, header %v", got, want, w.Header())
	}
	if err := s.Send([]Message{{"3", func() {}}}); err == nil {
		t.Error("what is not JSON was sent")
	}
}

// A client that does not read is cut.
func TestASlowReaderIsCut(t *testing.T) {
	defer func(was time.Duration) { writeTime = was }(writeTime)
	writeTime = 200 * time.Millisecond
	failed := make(chan error, 1)
	began := time.Now()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s, err := Begin(w, "0")
		for err == nil {
			err = s.Send([]Message{{"1", strings.Repeat("x", 1<<20)}})
		}
		failed <- err
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	if err := <-failed; err == nil || time.Since(began) < writeTime {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}
