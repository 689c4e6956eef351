// Package sse writes server-sent events: a response that goes on, with an id for each message so that the client can go on after the last
// one that it has. It imports the standard library only.
package sse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// retry is when a browser asks again, in milliseconds.
const retry = 1000

// hurriedTime is how long a client may take to read what is written when the stream is to end soon. Tests change it.
var hurriedTime = time.Second

// Stream is a response of server-sent events. It is for one goroutine, but for Hurry.
type Stream struct {
	w         http.ResponseWriter
	rc        *http.ResponseController
	writeTime time.Duration

	mu      sync.Mutex // guards what follows, and the deadline of writes
	hurried time.Time  // the deadline of all writes; zero before Hurry
	over    bool
}

// Begin begins a stream of what comes after the message with an id: a client that gets none has that id, and can go on after it. A client that takes longer
// than writeTime to read what is written at once is cut. Its caller calls End, also after an error.
func Begin(w http.ResponseWriter, after string, writeTime time.Duration) (*Stream, error) {
	s := &Stream{w: w, rc: http.NewResponseController(w), writeTime: writeTime}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // For proxies that would wait for more.
	w.WriteHeader(http.StatusOK)
	return s, s.write(fmt.Appendf(nil, "retry: %d\nid: %s\n\n", retry, after))
}

// Message is one message: its id has no line breaks, and Data is written as JSON.
type Message struct {
	ID   string
	Data any
}

// Send sends messages. After an error the client has some part of them, and the stream is over.
func (s *Stream) Send(messages []Message) error {
	var out []byte
	for _, m := range messages {
		data, err := json.Marshal(m.Data) // It has no line breaks.
		if err != nil {
			return err
		}
		out = fmt.Appendf(out, "id: %s\ndata: %s\n\n", m.ID, data)
	}
	return s.write(out)
}

// KeepAlive shows to the client, and to proxies, that the stream is not over.
func (s *Stream) KeepAlive() error { return s.write([]byte(": keep-alive\n\n")) }

// End ends the stream. The connection can be used again.
func (s *Stream) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	_ = s.rc.SetWriteDeadline(time.Time{})
}

// Hurry gives the client a moment to read what is written, also what is being written, before it is cut. It may be called at any time, by any
// goroutine.
func (s *Stream) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.hurried = time.Now().Add(hurriedTime)
		_ = s.rc.SetWriteDeadline(s.hurried)
	}
}

// limit sets the deadline of a write.
func (s *Stream) limit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hurried.IsZero() {
		// A recorder in a test has no deadline, and does not block either.
		_ = s.rc.SetWriteDeadline(time.Now().Add(s.writeTime))
	}
}

func (s *Stream) write(b []byte) error {
	s.limit()
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}
