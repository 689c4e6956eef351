// Package seldom logs warnings of which clients and guests can cause any number. It imports the standard library only.
package seldom

import (
	"log/slog"
	"sync"
	"time"
)

// logEvery is how often a line of one text is logged. Guests and clients without a
// key can cause such lines at will, and would fill the disk with them.
const logEvery = time.Second

// Logger logs warnings of each text once in logEvery, and how many it left out. It
// is safe for concurrent use.
type Logger struct {
	log *slog.Logger

	mu    sync.Mutex
	texts map[string]*warned // of our own texts, so there are few; guarded by mu
}

// New returns a Logger that writes to log.
func New(log *slog.Logger) *Logger { return &Logger{log: log} }

type warned struct {
	next time.Time
	left int64
}

// Warn logs a text, which is one of ours, with attributes.
func (s *Logger) Warn(text string, attrs ...any) {
	now := time.Now()
	s.mu.Lock()
	if s.texts == nil {
		s.texts = map[string]*warned{}
	}
	w := s.texts[text]
	if w == nil {
		w = &warned{}
		s.texts[text] = w
	}
	if now.Before(w.next) {
		w.left++
		s.mu.Unlock()
		return
	}
	left := w.left
	w.left, w.next = 0, now.Add(logEvery)
	s.mu.Unlock()
	if left > 0 {
		attrs = append(attrs, "left_out", left)
	}
	s.log.Warn(text, attrs...)
}
