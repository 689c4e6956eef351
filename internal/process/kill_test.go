//go:build linux

package process

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process/processtest"
)

// started is a process that waits, with an argument that no other has. What ends it collects it, too.
func started(t *testing.T, argument string) *os.Process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read line", argument)
	in, err := cmd.StdinPipe() // Open until the end of the test.
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Process.Kill() })
	return cmd.Process
}

func TestKillByArgument(t *testing.T) {
	name := "kill-test-" + t.TempDir()
	found, other := started(t, name), started(t, name+"-other")
	if line, err := CommandLine(found.Pid); err != nil || !strings.HasSuffix(line, "\x00"+name+"\x00") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := KillByArgument(name); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(found.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("it lives: %v", err)
	}
	if err := unix.Kill(other.Pid, 0); err != nil {
		t.Errorf("another one: %v", err)
	}
}

// A process whose number was another one's when its command line was read is not ended.
func TestAProcessIsAskedAgainBeforeItIsEnded(t *testing.T) {
	name := "kill-test-" + t.TempDir()
	p, asked := started(t, name), 0
	err := KillMatching(func(commandLine string) bool {
		if !strings.Contains(commandLine, name) {
			return false
		}
		asked++
		return asked == 1
	})
	if err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	if err := unix.Kill(p.Pid, 0); err != nil {
		t.Errorf("it was ended: %v", err)
	}
}

// Without descriptors no process is taken for one that does not match: the caller would remove what belongs to it.
func TestWithoutDescriptorsAKillSaysThatItMissedSome(t *testing.T) {
	name := "kill-test-" + t.TempDir()
	p := started(t, name)
	for free := range uint64(2) { // None for the list, and one for it, but not for a process and its command line.
		var err error
		processtest.WithDescriptors(t, free, func() { err = KillByArgument(name) })
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("with %d descriptors: %v", free, err)
		}
		if err := unix.Kill(p.Pid, 0); err != nil {
			t.Errorf("with %d descriptors it was ended: %v", free, err)
		}
	}
	if err := KillByArgument(name); err != nil {
		t.Error(err)
	}
}

// A record without a number or a start time names no process: not even one that has that number.
func TestARecordThatLacksSomethingNamesNoProcess(t *testing.T) {
	p := started(t, "kill-test-"+t.TempDir())
	_, start, err := State(p.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		pid   int
		start uint64
	}{{p.Pid, 0}, {0, start}, {-p.Pid, start}} {
		if err := KillRecorded(r.pid, r.start); !errors.Is(err, ErrGone) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if err := unix.Kill(p.Pid, 0); err != nil {
		t.Errorf("it was ended: %v", err)
	}
}

func TestNothingIsEndedWithoutAnArgument(t *testing.T) {
	p := started(t, "")
	if err := KillByArgument(""); err == nil {
		t.Error("no error")
	}
	if err := unix.Kill(p.Pid, 0); err != nil {
		t.Errorf("a process with an empty argument: %v", err)
	}
}

func TestKillRecorded(t *testing.T) {
	p := started(t, "kill-test-"+t.TempDir())
	_, start, err := State(p.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := KillRecorded(p.Pid, start+1); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v", err)
	}
	if err := unix.Kill(p.Pid, 0); err != nil {
		t.Fatalf("it was ended: %v", err)
	}
	if err := KillRecorded(p.Pid, start); err != nil {
		t.Error(err)
	}
	if err := KillRecorded(p.Pid, start); !errors.Is(err, ErrGone) {
		t.Errorf("once more: %v", err)
	}
}
