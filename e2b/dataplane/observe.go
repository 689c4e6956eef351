package dataplane

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/envd"
)

// Observer is notified when commands that pass through start and print. It is
// optional: a Sandboxes that implements it is asked to observe.
type Observer interface {
	// CommandStarted: the agent reported the start, so long after the request came.
	CommandStarted(sandboxID string, took time.Duration)
	// FirstStdout: a command without a terminal printed its first byte to
	// standard output, so long after the request came.
	FirstStdout(sandboxID string, took time.Duration)
}

// startType is the form of the agent's call that starts a command that SDKs use.
const startType = "application/connect+json"

// observe watches the answer to a Start on its way through.
func (p *Proxy) observe(resp *http.Response) {
	x := exchangeOf(resp.Request)
	if p.observer == nil || x.target.Port != envd.Port || resp.Request.URL.Path != processpbconnect.ProcessStartProcedure ||
		resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != startType {
		return
	}
	resp.Body = &startStream{ReadCloser: resp.Body, begin: x.begin, id: x.target.ID, to: p.observer}
}

// startStream passes a stream of Connect messages on and looks at the beginning
// of each until the first output was seen. The data comes from a guest and may
// be anything: startStream only counts bytes.
type startStream struct {
	io.ReadCloser
	begin time.Time
	id    string
	to    Observer

	started, done bool
	head          [5 + peek]byte // the envelope's prefix and the message's first bytes
	have          int            // bytes of head
	rest          int64          // bytes of the message behind them
}

// peek is enough to see which event a message is: {"event":{"data":{"stdout":
const peek = 32

func (s *startStream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if !s.done {
		s.scan(b[:n])
	}
	return n, err
}

func (s *startStream) scan(b []byte) {
	for len(b) > 0 && !s.done {
		if s.rest > 0 {
			skip := min(s.rest, int64(len(b)))
			s.rest -= skip
			b = b[skip:]
			continue
		}
		want := 5
		if s.have >= 5 {
			want += int(min(s.length(), peek))
		}
		n := copy(s.head[s.have:want], b)
		s.have += n
		b = b[n:]
		if s.have < 5 || s.have < 5+int(min(s.length(), peek)) {
			continue
		}
		s.message(s.head[5:s.have])
		s.rest = s.length() - int64(s.have-5)
		s.have = 0
	}
}

func (s *startStream) length() int64 { return int64(binary.BigEndian.Uint32(s.head[1:5])) }

// message sees the beginning of one message.
func (s *startStream) message(m []byte) {
	took := time.Since(s.begin)
	switch {
	case !s.started && bytes.Contains(m, []byte(`"start"`)):
		s.started = true
		s.to.CommandStarted(s.id, took)
	case bytes.Contains(m, []byte(`"stdout"`)):
		s.done = true
		s.to.FirstStdout(s.id, took)
	case bytes.Contains(m, []byte(`"pty"`)):
		s.done = true
	}
}
