// Package accesslog writes a line of JSON for each request of clients, to a file or a stream, and never holds a request up.
// It imports e2b for the form of a request, and only commands import it.
package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/e2b"
)

const (
	// most is how many bytes of lines wait while as many are written: some 10,000 lines of usual length. More are lost.
	most = 4 << 20
	// kept is the size up to which a buffer is used again.
	kept = 64 << 10
	// closeTime is how long Close waits until all is written.
	closeTime = 5 * time.Second
	// reportTime is how long after a loss lost lines are reported.
	reportTime = 5 * time.Second
)

// errFull is why lines are lost that come faster than they are written.
var errFull = errors.New("too many lines wait to be written")

// Log is an access log. It is safe for concurrent use, and must be closed.
type Log struct {
	path   string // Empty for a stream.
	logger *slog.Logger
	// patience is closeTime.
	patience time.Duration

	wake  chan struct{} // Signals the writer that something is to be done.
	ended chan struct{} // Closed when the writer has ended.

	mu      sync.Mutex
	out     io.WriteCloser
	lines   []byte // That wait.
	reopen  bool
	closing bool
	lost    uint64 // Lines that are not reported yet; while there are, report is due.
	why     error  // Of the last loss.
}

// Open appends to a file, which it makes for its owner only. A file that exists keeps its mode. A named pipe needs a reader.
// Lines that are lost are reported to logger.
func Open(path string, logger *slog.Logger) (*Log, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	return start(f, path, logger), nil
}

// To writes to a stream, which it does not close. A Write of it that blocks may outlive Close.
func To(w io.Writer, logger *slog.Logger) *Log { return start(stream{w}, "", logger) }

type stream struct{ io.Writer }

func (stream) Close() error { return nil }

func start(out io.WriteCloser, path string, logger *slog.Logger) *Log {
	l := &Log{path: path, logger: logger, patience: closeTime, wake: make(chan struct{}, 1), ended: make(chan struct{}), out: out}
	go l.write()
	return l
}

// open does not wait for the reader of a pipe.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0o600)
}

// Add writes a line about a request soon. It does not block. If too much waits to be written, the line is lost.
func (l *Log) Add(a e2b.Access) {
	line, err := json.Marshal(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.lose(1, err)
	case l.closing:
		l.lose(1, os.ErrClosed)
	case len(l.lines)+len(line) >= most:
		l.lose(1, errFull)
	default:
		l.lines = append(append(l.lines, line...), '\n')
		l.signal()
	}
}

// Reopen has the file opened again by its path, for a program that has renamed it, before the next line is written. On an
// error, which is logged, the former file is used. It does not block.
func (l *Log) Reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reopen = l.path != ""
	l.signal()
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close writes what waits, for five seconds at most, and closes the file. Lines that are added afterwards are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	l.signal()
	l.mu.Unlock()
	enough := time.NewTimer(l.patience)
	defer enough.Stop()
	defer l.report()
	select {
	case <-l.ended:
		return nil
	case <-enough.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Close() // This ends the Write of a pipe.
	l.lose(uint64(bytes.Count(l.lines, []byte{'\n'})), errFull)
	l.lines = nil
	return fmt.Errorf("access log: nothing was taken for %v, and lines are lost", l.patience)
}

// write is the writer.
func (l *Log) write() {
	defer close(l.ended)
	var spare []byte // The two buffers change places.
	torn := false    // A line was written in part.
	for range l.wake {
		l.mu.Lock()
		lines, reopen, closing, out := l.lines, l.reopen, l.closing, l.out
		l.lines, l.reopen = spare[:0], false
		l.mu.Unlock()
		if reopen && l.replace() {
			out, torn = l.out, false // The writer alone changes it.
		}
		first := 0 // Where the first line begins.
		if torn && len(lines) > 0 {
			lines, first = append([]byte{'\n'}, lines...), 1
		}
		if len(lines) > 0 {
			n, err := out.Write(lines)
			if err != nil {
				l.mu.Lock()
				l.lose(uint64(bytes.Count(lines[max(n, first):], []byte{'\n'})), err)
				l.mu.Unlock()
			}
			torn = torn && n == 0 || n > 0 && lines[n-1] != '\n'
		}
		if spare = lines; cap(spare) > kept {
			spare = nil
		}
		if closing {
			_ = out.Close()
			return
		}
	}
}

// replace opens the file again.
func (l *Log) replace() bool {
	f, err := open(l.path)
	if err != nil {
		l.logger.Error("access log not reopened; the former file is used", "path", l.path, "error", err)
		return false
	}
	l.mu.Lock()
	former := l.out
	l.out = f
	l.mu.Unlock()
	_ = former.Close()
	l.logger.Info("access log reopened", "path", l.path)
	return true
}

// lose counts lost lines, and has them reported. The caller holds mu.
func (l *Log) lose(lines uint64, why error) {
	if lines > 0 && l.lost == 0 {
		time.AfterFunc(reportTime, l.report)
	}
	l.lost += lines
	l.why = why
}

// report logs how many lines were lost since the last report. No request waits for it: a logger may block, too.
func (l *Log) report() {
	l.mu.Lock()
	lost, why := l.lost, l.why
	l.lost = 0
	l.mu.Unlock()
	if lost > 0 {
		l.logger.Warn("access log lines lost", "lines", lost, "error", why)
	}
}
