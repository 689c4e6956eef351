//go:build linux

package process

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func cooked() *unix.Termios {
	t := &unix.Termios{Iflag: unix.ICRNL, Lflag: unix.ICANON | unix.ISIG | unix.ECHO | unix.ECHOCTL}
	t.Cc[unix.VINTR], t.Cc[unix.VQUIT], t.Cc[unix.VSUSP] = 3, 28, 26
	t.Cc[unix.VEOF], t.Cc[unix.VKILL], t.Cc[unix.VERASE] = 4, 21, 127
	return t
}

func TestSpecialCharactersDependOnTheSettings(t *testing.T) {
	for _, tc := range []struct {
		name, input string
		change      func(*unix.Termios)
		want        int
	}{
		{"none", "ls\n", nil, 3},
		{"interrupt", "ls\n\x03", nil, 3},
		{"quit", "\x1cx", nil, 0},
		{"suspend", "a\x1a", nil, 1},
		{"no signals", "a\x03\x1a\x1c", func(s *unix.Termios) { s.Lflag &^= unix.ISIG }, 4},
		{"signals without lines", "a\x04\x15\x03", func(s *unix.Termios) { s.Lflag &^= unix.ICANON }, 3},
		{"end of input", "ab\x04", nil, 2},
		{"kill", "ab\x15", nil, 2},
		{"kill without erase", "ab\x15", func(s *unix.Termios) { s.Cc[unix.VERASE] = 0 }, 3},
		{"another key", "\x03\x07", func(s *unix.Termios) { s.Cc[unix.VINTR] = 7 }, 1},
		{"a key that is off", "\x00\x03", func(s *unix.Termios) { s.Cc[unix.VINTR] = 0 }, 2},
	} {
		s := cooked()
		if tc.change != nil {
			tc.change(s)
		}
		if got := special(s, []byte(tc.input)); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestTheLengthOfALineIsFollowed(t *testing.T) {
	for input, want := range map[string]int{"": 0, "abc": 3, "abc\n": 0, "abc\rd": 1, "ab\x7f": 1, "\x7f\x7fa": 1, "a\nbc\nd": 1} {
		d := &discipline{}
		d.count(cooked(), []byte(input))
		if d.line != want {
			t.Errorf("%q: %d, want %d", input, d.line, want)
		}
	}
	raw := cooked()
	raw.Lflag &^= unix.ICANON
	d := &discipline{line: 7}
	if d.count(raw, []byte("abc")); d.line != 0 {
		t.Errorf("without lines: %d", d.line)
	}
}

func TestAReadOfAnEndOfInputIsNoticed(t *testing.T) {
	before := map[int]reads{1: {calls: 5, bytes: 100}, 2: {calls: 7, bytes: 50}}
	for _, tc := range []struct {
		name string
		now  map[int]reads
		want bool
	}{
		{"nothing", map[int]reads{1: {5, 100}, 2: {7, 50}}, false},
		{"a read of a line", map[int]reads{1: {6, 110}, 2: {7, 50}}, false},
		{"a read of nothing", map[int]reads{1: {5, 100}, 2: {8, 50}}, true},
		{"the end of a process", map[int]reads{1: {5, 100}}, true},
		{"another process", map[int]reads{1: {5, 100}, 3: {0, 0}}, true},
	} {
		eof := &pendingEOF{readers: before}
		if got := eof.read(tc.now); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
		if len(eof.readers) != len(tc.now) {
			t.Errorf("%s: the next comparison is with %v", tc.name, eof.readers)
		}
	}
}

func TestPollEndsInTimeAndWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := func() bool { return false }
		begin := time.Now()
		if err := poll(t.Context(), begin.Add(eofWait), never); err != nil || time.Since(begin) > eofWait+20*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), eofWait/2)
		defer cancel()
		if err := poll(ctx, time.Now().Add(eofWait), never); !errors.Is(err, errTaken) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestTheProcessesOfASessionAreFound(t *testing.T) {
	own, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range session(own) {
		if m.pid == os.Getpid() {
			if m.group != unix.Getpgrp() {
				t.Errorf("group %d, want %d", m.group, unix.Getpgrp())
			}
			if _, err := os.Stat("/proc/" + strconv.Itoa(m.pid) + "/io"); err == nil && sessionReads(own)[m.pid].calls == 0 {
				t.Error("this process has read nothing")
			}
			return
		}
	}
	t.Error("this process is not in its session")
}
