//go:build linux

package reaper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("REAPER_TEST_INIT") != "" {
		if err := actAsInit(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// actAsInit is the part of PID 1: orphans come to it, while it starts and
// waits for processes that it started.
func actAsInit() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	r := New(true)
	defer r.Close()
	errs := make(chan error)
	const n = 60
	for i := range n {
		go func() { errs <- runOne(r, i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(children))) == 0 {
			return nil
		}
		// The last orphans exit on their own, and the reaper reports nothing.
		select {
		case <-deadline:
			return fmt.Errorf("children are left: %s", children)
		case <-tick.C:
		}
	}
}

func runOne(r *Reaper, i int) error {
	// Each leaves an orphan behind that ends about when others are waited for.
	script := fmt.Sprintf("(sleep 0.0%d &) ; exit %d", i%10, i)
	_, exit, err := r.Start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	if err != nil {
		return err
	}
	if ws := <-exit; ws.ExitStatus() != i {
		return fmt.Errorf("status of %d is %d", i, ws.ExitStatus())
	}
	return nil
}

func TestOrphans(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "REAPER_TEST_INIT=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// Without orphans, other code of the process may wait for its own children.
func TestBesideExec(t *testing.T) {
	r := New(false)
	defer r.Close()
	for i := range 20 {
		err := exec.Command("/bin/sh", "-c", fmt.Sprintf("exit %d", i)).Run()
		var exit *exec.ExitError
		if i > 0 && (!errors.As(err, &exit) || exit.ExitCode() != i) || i == 0 && err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if err := runOne(r, i); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSignal(t *testing.T) {
	r := New(false)
	defer r.Close()
	pid, exit, err := r.Start("/bin/sleep", []string{"sleep", "100"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Signal(pid, syscall.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	if ws := <-exit; ws.Signal() != syscall.SIGKILL {
		t.Errorf("status %v", ws)
	}
	// The pid may be another's by now.
	if err := r.Signal(pid, syscall.SIGKILL, false); !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
	if _, _, err := r.Start("/no/such", nil, &syscall.ProcAttr{}); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
}

// A process has the higher score from its first instruction; this one keeps its own.
func TestScore(t *testing.T) {
	before, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	r := New(false)
	defer r.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	_, exit, err := r.Start("/bin/cat", []string{"cat", "/proc/self/oom_score_adj"}, &syscall.ProcAttr{Files: []uintptr{0, in.Fd(), 2}})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	if score, err := io.ReadAll(out); err != nil || string(score) != "100\n" {
		t.Errorf("the process has %q %v", score, err)
	}
	<-exit
	if after, err := os.ReadFile("/proc/self/oom_score_adj"); err != nil || string(after) != string(before) {
		t.Errorf("%q became %q %v", before, after, err)
	}
}
