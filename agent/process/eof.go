//go:build linux

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pendingEOF is an end of input that was written to a terminal and may not have
// been read yet.
type pendingEOF struct {
	until   time.Time
	readers map[int]reads
	// bare is an end of input at the begin of a line; behind a part of one it
	// ends that instead.
	bare bool
}

// reads counts the read calls of a process and the bytes that it got by them.
type reads struct{ calls, bytes int }

// end writes an end of input. The lines before it are read first, if somebody
// reads at all, so that its own read can be distinguished from theirs.
func (d *discipline) end(ctx context.Context, c byte, flushes uint64) error {
	eof := &pendingEOF{bare: d.line == 0}
	if eof.bare {
		if err := poll(ctx, time.Now().Add(lineWait), func() bool { return !d.lineWaits() }); err != nil {
			return err
		}
		eof.readers = sessionReads(int(d.p.pid))
	}
	eof.until = time.Now().Add(eofWait)
	d.eof, d.line = eof, 0
	return d.put(ctx, []byte{c}, flushes)
}

// awaitEOF returns when an end of input that was written has been read, or
// eofWait has passed since. Nothing in gVisor shows that it has: it is inferred
// from a read that got no bytes, the end or the start of a process of the
// session, or other settings of the terminal.
func (d *discipline) awaitEOF(ctx context.Context) error {
	eof := d.eof
	d.eof = nil
	if eof == nil {
		return nil
	}
	lines, flushes := true, d.p.input.flushes.Load()
	err := poll(ctx, eof.until, func() bool {
		if t, err := d.settings(); err != nil || t.Lflag&unix.ICANON == 0 {
			return true
		}
		if d.p.input.flushes.Load() != flushes {
			return true
		}
		if lines = lines && d.lineWaits(); lines {
			return false
		}
		return !eof.bare || eof.read(sessionReads(int(d.p.pid)))
	})
	if err != nil {
		d.eof = eof
	}
	return err
}

// read compares with what the processes of the session read before.
func (e *pendingEOF) read(now map[int]reads) bool {
	before := e.readers
	e.readers = now
	if len(before) != len(now) {
		return true
	}
	for pid, n := range now {
		b, ok := before[pid]
		if !ok || n.bytes-b.bytes < n.calls-b.calls {
			return true
		}
	}
	return false
}

// poll asks until the answer is yes, ctx ends (an error) or the time has come.
func poll(ctx context.Context, until time.Time, done func() bool) error {
	pause := time.Millisecond
	for !done() && time.Now().Before(until) {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 16*time.Millisecond)
	}
	return nil
}

// sessionReads looks at what each process of a session has read.
func sessionReads(id int) map[int]reads {
	all := map[int]reads{}
	for _, m := range session(id) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", m.pid))
		if err != nil {
			continue
		}
		var r reads
		for line := range bytes.Lines(text) {
			name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
			n, err := strconv.Atoi(string(value))
			if err != nil {
				continue
			}
			switch string(name) {
			case "rchar":
				r.bytes = n
			case "syscr":
				r.calls = n
			}
		}
		all[m.pid] = r
	}
	return all
}
