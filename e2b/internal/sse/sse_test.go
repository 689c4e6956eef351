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
	s, err := Begin(w, "0", time.Hour)
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

// unread serves a stream without an end to a client that does not read, and returns its error. begun is called when it has begun.
func unread(t *testing.T, writeTime time.Duration, begun func(*Stream)) error {
	t.Helper()
	failed := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s, err := Begin(w, "0", writeTime)
		begun(s)
		for err == nil {
			err = s.Send([]Message{{"1", strings.Repeat("x", 1<<20)}})
		}
		s.End()
		s.Hurry() // It is too late for that.
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
	return <-failed
}

// A client that does not read is cut.
func TestASlowReaderIsCut(t *testing.T) {
	const writeTime = 200 * time.Millisecond
	began := time.Now()
	if err := unread(t, writeTime, func(*Stream) {}); err == nil || time.Since(began) < writeTime {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// A stream that is to end soon does not wait for a client that does not read, whether it is about to write or does so already.
func TestAHurriedStreamDoesNotWaitForItsReader(t *testing.T) {
	defer func(was time.Duration) { hurriedTime = was }(hurriedTime)
	hurriedTime = 10 * time.Millisecond
	for name, begun := range map[string]func(*Stream){
		"before a write": (*Stream).Hurry,
		"in a write":     func(s *Stream) { time.AfterFunc(50*time.Millisecond, s.Hurry) },
	} {
		if err := unread(t, time.Hour, begun); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
