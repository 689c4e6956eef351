package build

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
	maxLines   = 20_000
	maxLine    = 4 << 10
	maxLogSize = 4 << 20
)

// buildLog is the log of a build. Safe for concurrent use; the zero value is ready.
type buildLog struct {
	mu   sync.Mutex
	all  []sandbox.BuildLog
	size int
	full bool
}

func (l *buildLog) add(level, step, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	important := level == "error"
	if !important && (len(l.all) >= maxLines-10 || l.size >= maxLogSize) {
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

// lines returns at most limit lines from the one with the number from.
func (l *buildLog) lines(from, limit int) []sandbox.BuildLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return part(l.all, from, limit)
}

// part is a copy of a part of some lines; it may be empty, not nil.
func part(all []sandbox.BuildLog, from, limit int) []sandbox.BuildLog {
	from = min(max(from, 0), len(all))
	return append([]sandbox.BuildLog{}, all[from:min(from+max(limit, 0), len(all))]...)
}

// lineWriter writes the output of a command to a log, line by line, and keeps the last lines.
type lineWriter struct {
	log  *buildLog
	step string
	rest []byte
	tail []string
}

// tailLines is how many of the last lines an error shows.
const tailLines = 10

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexAny(w.rest, "\n\r")
		switch {
		case i >= 0 && i <= maxLine:
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

// flush writes the last line, if nothing ends it.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.line(string(w.rest))
		w.rest = nil
	}
}

func (w *lineWriter) line(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	w.log.add("info", w.step, text)
	w.tail = append(w.tail, text)
	if len(w.tail) > tailLines {
		w.tail = w.tail[1:]
	}
}
