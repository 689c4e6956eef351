package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

// screen is what a terminal of a box showed.
type screen struct {
	b     *box
	pid   uint32
	mu    sync.Mutex
	shown string
	ended bool
}

func (b *box) terminal(t *testing.T, args ...string) *screen {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := b.process.Start(ctx, connect.NewRequest(&processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: append([]string{"--norc"}, args...), Envs: map[string]string{"PS1": "$ ", "TERM": "xterm"}},
		Pty:     &processpb.PTY{Size: &processpb.PTY_Size{Cols: 80, Rows: 24}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	s := &screen{b: b, pid: stream.Msg().GetEvent().GetStart().GetPid()}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for stream.Receive() {
			s.mu.Lock()
			s.shown += string(stream.Msg().GetEvent().GetData().GetPty())
			s.ended = s.ended || stream.Msg().GetEvent().GetEnd() != nil
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = b.signal(s.pid, processpb.Signal_SIGNAL_SIGKILL) // it may have ended
		cancel()
		stream.Close()
		<-read
	})
	return s
}

func (b *box) signal(pid uint32, sig processpb.Signal) error {
	_, err := b.process.SendSignal(context.Background(), connect.NewRequest(&processpb.SendSignalRequest{Process: selector(pid), Signal: sig}))
	return err
}

func selector(pid uint32) *processpb.ProcessSelector {
	return &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Pid{Pid: pid}}
}

func (s *screen) send(t *testing.T, keys string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	in := &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: []byte(keys)}}
	if _, err := s.b.process.SendInput(ctx, connect.NewRequest(&processpb.SendInputRequest{Process: selector(s.pid), Input: in})); err != nil {
		t.Fatalf("send %q: %v; shown: %q", keys, err, s.text())
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

// await waits until the terminal shows all of want, in this order.
func (s *screen) await(t *testing.T, want ...string) {
	t.Helper()
	var missing string
	defer func() {
		if t.Failed() {
			t.Logf("no %q in %q", missing, s.text())
		}
	}()
	eventually(t, "what the terminal should show", func() bool {
		text := s.text()
		for _, missing = range want {
			_, rest, ok := strings.Cut(text, missing)
			if !ok {
				return false
			}
			text = rest
		}
		return true
	})
}

// awaitEnd waits for the end of the process in the terminal.
func (s *screen) awaitEnd(t *testing.T) {
	t.Helper()
	eventually(t, "the end of the stream", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ended
	})
}

// awaitJobs waits until that many processes match.
func (b *box) awaitJobs(t *testing.T, match string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d of %q", n, match), func() bool {
		return b.sh("pgrep -cf '"+match+"'; true") == fmt.Sprint(n)
	})
}

// TestATerminalIsATerminal: what the line discipline of Linux does with the keys
// of a terminal, in a sandbox of gVisor, whose own does not. Each case is a
// program that says "ready", the messages sent then, and what is shown at last.
func TestATerminalIsATerminal(t *testing.T) {
	b := newNode(t).boot()
	b.init()
	const busy = `trap 'echo int-$((40+2))' INT; trap 'echo quit-$((40+2))' QUIT; echo ready; while :; do sleep 0.05; done`
	const counts = `; echo lines-$(wc -l < /tmp/f) last-$(tail -n1 /tmp/f); read -r x; echo next-$x`
	for _, tc := range []struct {
		name, program string
		keys, want    []string
	}{
		{"^C", busy, []string{"\x03"}, []string{"^C", "int-42"}},
		{"^C behind a line", busy, []string{"ls\n", "\x03"}, []string{"ls", "^C", "int-42"}},
		{"^C behind lines, at once", busy, []string{"ls\nls\n\x03"}, []string{"int-42"}},
		{"^\\ behind a line", busy, []string{"ls\n", "\x1c"}, []string{"quit-42"}},
		{"^C and what follows", "trap 'hit=1' INT; echo ready; until test \"$hit\"; do sleep 0.05; done; read -r x; echo got-$x",
			[]string{"lost\n", "\x03kept\n"}, []string{"got-kept"}},
		{"another key for it", "stty intr ^G; " + busy, []string{"ls\n", "\x07"}, []string{"^G", "int-42"}},
		{"no echo", "stty -echo; " + busy, []string{"\x03"}, []string{"int-42"}},
		{"^C without signals", "stty -isig; echo ready; read -r x; printf %s \"$x\" | od -An -tx1", []string{"\x03\n"}, []string{"03"}},
		{"^C throws away what was typed", "trap 'hit=1' INT; echo ready; until test \"$hit\"; do sleep 0.05; done; read -r x; echo got-$x",
			[]string{"lost\nlost too\npart", "\x03", "kept\n"}, []string{"got-kept"}},
		{"^C with NOFLSH keeps it", "stty noflsh; trap 'hit=1' INT; echo ready; until test \"$hit\"; do sleep 0.05; done; read -r x; read -r y; echo got-$x-$y",
			[]string{"one\ntwo\n", "\x03"}, []string{"got-one-two"}},
		{"^D with more behind it", "echo ready; cat > /tmp/f" + counts, []string{"a\nb\n\x04more\n"}, []string{"lines-2 last-b", "next-more"}},
		{"^D, then more", "echo ready; cat > /tmp/f" + counts, []string{"a\n", "\x04", "more\n"}, []string{"lines-1 last-a", "next-more"}},
		{"^D at first", "echo ready; cat > /tmp/f" + counts, []string{"\x04more\n"}, []string{"lines-0 last-", "next-more"}},
		{"two ^D", "echo ready; cat > /tmp/f; cat >> /tmp/f" + counts, []string{"a\n\x04b\n\x04more\n"}, []string{"lines-2 last-b", "next-more"}},
		{"^D behind a part of a line", "echo ready; cat > /tmp/f; echo; cat /tmp/f; read -r x; echo next-$x", []string{"abc\x04\x04more\n"}, []string{"abc", "next-more"}},
		{"^D for a later reader", "echo ready; sleep 0.5; cat > /tmp/f" + counts, []string{"a\n\x04more\n"}, []string{"lines-1 last-a", "next-more"}},
		{"^D for a reader that continues", `echo ready; exec python3 -c 'import sys; print("all-%r" % sys.stdin.read()); print("next-%r" % sys.stdin.readline())'`,
			[]string{"a\nb\n\x04more\n"}, []string{`all-'a\nb\n'`, `next-'more\n'`}},
		{"^U", "echo ready; read -r x; echo got-$x", []string{"wr\u00f6ng\x15right\n"}, []string{"got-right"}},
		{"^U of a line only", "echo ready; read -r x; read -r y; echo got-$x-$y", []string{"one\nwrong\x15two\n"}, []string{"got-one-two"}},
		{"^U without a line", "stty -icanon; echo ready; read -rn1 x; printf %s \"$x\" | od -An -tx1", []string{"\x15"}, []string{"15"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := b.terminal(t, "-c", tc.program)
			s.await(t, "ready")
			for _, keys := range tc.keys {
				s.send(t, keys)
			}
			s.await(t, tc.want...)
		})
	}
	t.Run("the keys of a shell", func(t *testing.T) {
		s := b.terminal(t, "-i")
		s.send(t, "sh -c 'echo up-$((40+2)); exec sleep 60'\n")
		s.await(t, "up-42\r\n")
		s.send(t, "ls\n")
		s.send(t, "\x1a")
		s.await(t, "Stopped")
		s.send(t, "fg\n")
		s.await(t, "Stopped", "fg", "sleep")
		s.send(t, "\x03")
		s.send(t, "echo back-$((40+2)); exit\n")
		s.await(t, "back-42")
	})
	t.Run("a stopped child ends nothing", func(t *testing.T) {
		got := b.sh("sleep 50 & p=$!; kill -STOP $p; until grep -q stopped /proc/$p/status; do :; done; /bin/true; /bin/true; grep State /proc/$p/status; kill -9 $p; echo survived")
		if got != "State:\tT (stopped)\nsurvived" {
			t.Errorf("%q", got)
		}
	})
	t.Run("signals to init from within", func(t *testing.T) {
		b.sh("/.rundlet/bin/sudo sh -c 'for s in HUP INT TERM QUIT USR1 ABRT SEGV TSTP; do kill -$s 1; done'")
		if got := b.sh("echo alive"); got != "alive" {
			t.Errorf("%q", got)
		}
	})
	t.Run("a killed terminal takes its jobs along", func(t *testing.T) {
		s := b.terminal(t, "-i")
		s.send(t, "sleep 4711 & sleep 4712\n")
		b.awaitJobs(t, `sleep 471[12]`, 2)
		if err := b.signal(s.pid, processpb.Signal_SIGNAL_SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.awaitEnd(t)
		b.awaitJobs(t, `sleep 471[12]`, 0)
	})
	t.Run("the death of a shell hangs up its foreground job", func(t *testing.T) {
		s := b.terminal(t, "-i")
		s.send(t, "sleep 4713\n")
		b.awaitJobs(t, `sleep 471[3]`, 1)
		b.sh(fmt.Sprint("kill -9 ", s.pid))
		s.awaitEnd(t)
		b.awaitJobs(t, `sleep 471[3]`, 0)
	})
	t.Run("the exit of a leader hangs up its group", func(t *testing.T) {
		s := b.terminal(t, "-c", "sleep 4714 & echo up; exit 3")
		s.await(t, "up")
		s.awaitEnd(t)
		b.awaitJobs(t, `sleep 471[4]`, 0)
	})
	t.Run("the exit of a shell leaves its background jobs", func(t *testing.T) {
		s := b.terminal(t, "-i")
		s.send(t, "sleep 4715 & exit\n")
		s.awaitEnd(t)
		b.awaitJobs(t, `sleep 471[5]`, 1)
	})
}
