//go:build linux

package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

// stall is how long the tests let a request wait whose input is not read.
const stall = 300 * time.Millisecond

// terminal gives a script a terminal and waits until it says ready.
func (g *guest) terminal(t *testing.T, script string) (*connect.ServerStreamForClient[processpb.StartResponse], *result) {
	t.Helper()
	req := &processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"--norc", "-mc", script}},
		Pty:     &processpb.PTY{Size: &processpb.PTY_Size{Cols: 80, Rows: 24}},
	}
	s, r := g.start(t, "user", req)
	for !strings.Contains(r.term, "ready") {
		if !s.Receive() {
			t.Fatalf("the stream ended (%v): %q", s.Err(), r.term)
		}
		r.add(s.Msg().GetEvent())
	}
	return s, r
}

func (g *guest) send(ctx context.Context, r *result, in *processpb.ProcessInput) error {
	_, err := g.process.SendInput(ctx, connect.NewRequest(&processpb.SendInputRequest{Process: pid(r.pid), Input: in}))
	return err
}

func keys(text string) *processpb.ProcessInput {
	return &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: []byte(text)}}
}

func piped(text string) *processpb.ProcessInput {
	return &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: []byte(text)}}
}

// masters counts the terminals that this process has open.
func masters(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, _ := os.Readlink(fd); strings.HasSuffix(name, "ptmx") {
			n++
		}
	}
	return n
}

func TestInputOfNoBytesIsNothingToDo(t *testing.T) {
	g := newGuest(t)
	s, r := g.terminal(t, "echo ready; read x; echo got-$x")
	for _, text := range []string{"", "abc", "", "\n"} {
		if err := g.send(t.Context(), r, keys(text)); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s, r)
	if !strings.Contains(r.term, "got-abc") {
		t.Errorf("%q", r.term)
	}
}

// TestInputNobodyTakesEndsWithItsRequest: also that of a request which waits
// behind it; and the process can still be killed, which frees all.
func TestInputNobodyTakesEndsWithItsRequest(t *testing.T) {
	g := newGuest(t)
	pipe := shell("echo ready; exec sleep 60")
	pipe.Stdin = nil
	for _, tc := range []struct {
		name  string
		begin func() (*connect.ServerStreamForClient[processpb.StartResponse], *result)
		input func(string) *processpb.ProcessInput
	}{
		{"terminal", func() (*connect.ServerStreamForClient[processpb.StartResponse], *result) {
			return g.terminal(t, "stty raw -echo; echo ready; exec sleep 60")
		}, keys},
		{"pipe", func() (*connect.ServerStreamForClient[processpb.StartResponse], *result) {
			return g.start(t, "user", pipe)
		}, piped},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, r := tc.begin()
			ctx, cancel := context.WithTimeout(t.Context(), stall)
			defer cancel()
			results := make(chan error, 2)
			for range 2 {
				go func() { results <- g.send(ctx, r, tc.input(strings.Repeat("x", 1<<20))) }()
			}
			for range 2 {
				wantCode(t, <-results, connect.CodeDeadlineExceeded, "")
			}
			// One that waits does not keep the process from its end.
			waits := make(chan error, 1)
			go func() { waits <- g.send(t.Context(), r, tc.input(strings.Repeat("x", 1<<20))) }()
			kill := &processpb.SendSignalRequest{Process: pid(r.pid), Signal: processpb.Signal_SIGNAL_SIGKILL}
			if _, err := g.process.SendSignal(t.Context(), connect.NewRequest(kill)); err != nil {
				t.Fatal(err)
			}
			drain(t, s, r)
			if err := <-waits; err == nil {
				t.Error("input to a process that was killed was taken")
			}
			if list := g.list(t); len(list) != 0 {
				t.Errorf("left behind: %v", list)
			}
		})
	}
	eventually(t, "the end of all terminals", func() bool { return masters(t) == 0 })
}

// TestACloseOfInputEndsAWriteOfIt: CloseStdin waited for it.
func TestACloseOfInputEndsAWriteOfIt(t *testing.T) {
	g := newGuest(t)
	req := shell("exec sleep 60")
	req.Stdin = nil
	_, r := g.start(t, "user", req)
	ctx, cancel := context.WithTimeout(t.Context(), stall)
	defer cancel()
	wantCode(t, g.send(ctx, r, piped(strings.Repeat("x", 1<<20))), connect.CodeDeadlineExceeded, "")
	waits := make(chan error, 1)
	go func() { waits <- g.send(t.Context(), r, piped("x")) }()
	if _, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: pid(r.pid)})); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-waits, connect.CodeFailedPrecondition, "")
}

// TestTheEndOfAShellEndsItsTerminal: whatever else has the terminal open.
func TestTheEndOfAShellEndsItsTerminal(t *testing.T) {
	g := newGuest(t)
	s, r := g.terminal(t, "trap '' HUP; sleep 60 & echo job-$!; echo ready; exit 3")
	drain(t, s, r)
	if r.end.GetExitCode() != 3 {
		t.Errorf("end %v", r.end)
	}
	if list := g.list(t); len(list) != 0 || masters(t) != 0 {
		t.Errorf("left behind: %v, %d terminals", list, masters(t))
	}
	var job int
	if _, err := fmt.Sscanf(r.term, "job-%d", &job); err != nil {
		t.Fatalf("%q: %v", r.term, err)
	}
	// What ignores the hang-up goes on, as on any terminal.
	if err := syscall.Kill(job, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestAKilledTerminalHangsUpItsJobs(t *testing.T) {
	g := newGuest(t)
	s, r := g.terminal(t, `cd `+g.home+`; job() { trap 'echo > $1-hup; exit' HUP; echo > $1; kill -$2 $BASHPID; while :; do sleep 0.05; done; }
		job background 0 & job stopped STOP &
		until grep -q stopped /proc/$!/status && test -e background; do sleep 0.02; done; echo ready; job foreground 0`)
	kill := &processpb.SendSignalRequest{Process: pid(r.pid), Signal: processpb.Signal_SIGNAL_SIGKILL}
	if _, err := g.process.SendSignal(t.Context(), connect.NewRequest(kill)); err != nil {
		t.Fatal(err)
	}
	drain(t, s, r)
	defer func() {
		if t.Failed() {
			t.Logf("of the session are left\n%s", statesOf(int(r.pid)))
		}
	}()
	for _, job := range []string{"background", "stopped"} {
		eventually(t, "the hang-up of the "+job+" job", func() bool {
			_, err := os.Stat(filepath.Join(g.home, job+"-hup"))
			return err == nil
		})
	}
}

// statesOf is what the kernel says about each process of a session.
func statesOf(session int) string {
	var out strings.Builder
	paths, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range paths {
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err != nil {
			continue
		}
		if sid, err := unix.Getsid(pid); err != nil || sid != session {
			continue
		}
		status, _ := os.ReadFile(path)
		for line := range strings.Lines(string(status)) {
			if name, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"Name", "State", "Pid", "PPid", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"}, name) {
				out.WriteString(strings.TrimSpace(line) + "; ")
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

// TestACommandHasAGroupAndNoSessionOfItsOwn: gVisor hangs up a group whose
// leader begins a session when any of its members ends while one is stopped.
func TestACommandHasAGroupAndNoSessionOfItsOwn(t *testing.T) {
	g := newGuest(t)
	r := g.run(t, "user", shell("read -r pid name state parent group session rest < /proc/self/stat; echo $$ $group $session"))
	var pid, group, session int
	if _, err := fmt.Sscan(r.stdout, &pid, &group, &session); err != nil {
		t.Fatalf("%q: %v", r.stdout, err)
	}
	own, err := unix.Getsid(0)
	if err != nil || group != pid || session != own {
		t.Errorf("process %d has group %d and session %d, the agent's is %d (%v)", pid, group, session, own, err)
	}
}
