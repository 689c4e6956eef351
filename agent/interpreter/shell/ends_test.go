//go:build linux

package shell

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/kernel"
)

// A part of a shell that runs in the background has copies of all that the shell had open.
func TestWhatRunsInTheBackgroundHoldsNoRunThatEnded(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		// own says that what runs in the background has another process group than the run.
		own bool
	}{
		"the end":            {"(sleep 600; :) & echo $!; exit 3", false},
		"another program":    {"(sleep 600; :) & echo $!; exec true", false},
		"a kill":             {"(sleep 600; :) & echo $!; kill -9 $$", false},
		"its own job":        {"set -m; (sleep 600; :) & echo $!; exit 3", true},
		"a program":          {"sleep 600 & echo $!; exit 3", false},
		"a deaf one":         {"(trap '' INT TERM HUP; sleep 600; :) & echo $!; exit 3", false},
		"one that was moved": {"set -m; (sleep 600; :) & disown; echo $!; exec true", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			got, err := run(t, s, kernel.Run{Code: c.code})
			pid, text := strconv.Atoi(strings.TrimSpace(got["stdout"]))
			if text != nil {
				t.Fatalf("%v, %v", got, err)
			}
			defer func() { _ = syscall.Kill(-pid, syscall.SIGKILL) }() // Its own group, if it has one.
			if !errors.Is(err, kernel.ErrEnded) {
				t.Errorf("%v", err)
			}
			if _, err := run(t, s, kernel.Run{Code: "echo next"}); !errors.Is(err, kernel.ErrEnded) {
				t.Errorf("the next run: %v", err)
			}
			closed := make(chan struct{})
			go func() {
				s.Close()
				close(closed)
			}()
			select {
			case <-closed:
			case <-time.After(20 * time.Second):
				t.Fatal("the shell cannot be closed")
			}
			if c.own {
				return
			}
			for deadline := time.Now().Add(20 * time.Second); runs(pid); {
				if time.Now().After(deadline) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
					t.Fatal("what the code started runs on")
				}
			}
		})
	}
}

// runs reports whether a process has not ended.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// What the server sends along is not the code's to change by accident.
func TestRunsAfterChangesOfTheShell(t *testing.T) {
	for _, code := range []string{"alias printf='echo hi'", "printf() { echo hi; }", "IFS=0123456789", "set -u", "set -f", "set -o posix"} {
		s := start(t)
		if got, err := run(t, s, kernel.Run{Code: code}); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", code, got, err)
		}
		if got, err := run(t, s, kernel.Run{Code: "(exit 7)"}); err != nil || got["error"] != "ExitStatus 7" {
			t.Errorf("after %s: %v, %v", code, got, err)
		}
	}
}
