// Package lines keeps the log of a build. It may import sandbox.
package lines

import (
	"bytes"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/rundlet/rundlet/sandbox"
)

// The bounds of a log. What is beyond them is left out, and the log says so.
const (
	Max     = 20_000
	maxLine = 4 << 10
	maxSize = 4 << 20
)

// Log is the log of a build. Safe for concurrent use; the zero value is ready.
type Log struct {
	mu   sync.Mutex
	all  []sandbox.BuildLog
	size int
	full bool
}

// Add writes a message of a level: info, warn or error.
func (l *Log) Add(level, step, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	important := level == "error"
	if !important && (len(l.all) >= Max-10 || l.size >= maxSize) {
		if !l.full {
			l.full = true
			l.all = append(l.all, sandbox.BuildLog{Time: time.Now(), Level: "warn", Step: step, Message: "The log is full: what follows is left out"})
		}
		return
	}
	if len(message) > maxLine {
		message = message[:maxLine] + " ..."
	}
	message = strings.ToValidUTF8(message, string(utf8.RuneError))
	l.size += len(message)
	l.all = append(l.all, sandbox.BuildLog{Time: time.Now(), Level: level, Step: step, Message: message})
}

// Lines returns at most limit lines from the one with the number from.
func (l *Log) Lines(from, limit int) []sandbox.BuildLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Part(l.all, from, limit)
}

// Part is a copy of a part of some lines; it may be empty, not nil.
func Part(all []sandbox.BuildLog, from, limit int) []sandbox.BuildLog {
	from = min(max(from, 0), len(all))
	return append([]sandbox.BuildLog{}, all[from:min(from+max(limit, 0), len(all))]...)
}

// Writer writes the output of a command to a log, line by line, and keeps the last lines.
type Writer struct {
	Log  *Log
	Step string
	rest []byte
	// Tail are the last lines.
	Tail []string
}

// tailLines is how many of the last lines an error shows.
const tailLines = 10

// Write never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexAny(w.rest[:min(len(w.rest), maxLine+1)], "\n\r")
		switch {
		case i >= 0:
			w.line(string(w.rest[:i]))
			w.rest = w.rest[i+1:]
		case len(w.rest) > maxLine:
			w.line(string(w.rest[:maxLine]))
			w.rest = w.rest[maxLine:]
		default:
			return len(p), nil
		}
	}
}

// Flush writes the last line, if nothing ends it.
func (w *Writer) Flush() {
	if len(w.rest) > 0 {
		w.line(string(w.rest))
		w.rest = nil
	}
}

func (w *Writer) line(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	w.Log.Add("info", w.Step, text)
	w.Tail = append(w.Tail, text)
	if len(w.Tail) > tailLines {
		w.Tail = w.Tail[1:]
	}
}
