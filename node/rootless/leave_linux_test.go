package rootless

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

// leaver is a process of this test that leaves when its standard input ends.
const leaver = "RUNDLET_TEST_LEAVER"

func leave() int {
	fmt.Println("inside")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	if err := Of().Leave(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// newKeeper keeps a user namespace, and ends with the test.
func newKeeper(t *testing.T) process {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: own, GidMappings: own}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p, err := processOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// leaveAtOnce has commands in the namespace of a keeper leave at the same time. It calls before when all are inside, and after when they
// leave.
func leaveAtOnce(t *testing.T, dir string, keeper process, count int, before, after func()) {
	t.Helper()
	stdin, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var all []*exec.Cmd
	for range count {
		lock, err := flock.TryShared(insidePath(dir))
		if err != nil {
			t.Fatal(err)
		}
		near, far, err := socketPair(unix.SOCK_SEQPACKET)
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("nsenter", "--target", strconv.Itoa(keeper.PID), "--user", "--", self)
		cmd.Env = append(os.Environ(), leaver+"=1", fmt.Sprintf("%s=%d,%d:%s", envInside, firstFD, secondFD, dir))
		cmd.Stdin, cmd.ExtraFiles = stdin, []*os.File{lock, near}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lock.Close()
		near.Close()
		far.Close()
		if _, err := io.ReadFull(out, make([]byte, len("inside\n"))); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	before()
	end.Close()
	after()
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// The last command that leaves ends the namespaces, though others leave or enter at the same time: each finds that it is not alone.
func TestTheLastOfThoseThatLeaveAtOnceEndsTheNamespaces(t *testing.T) {
	dir, p := t.TempDir(), newKeeper(t)
	if err := (&keeper{Keeper: p, path: keeperPath(dir)}).save(); err != nil {
		t.Fatal(err)
	}
	other, err := flock.Try(enteringPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	leaveAtOnce(t, dir, p, 6, func() {}, func() {
		alone, err := flock.Wait(insidePath(dir)) // None is inside any more.
		if err != nil {
			t.Fatal(err)
		}
		alone.Close()
		other.Close()
	})
	if _, err := os.Stat(keeperPath(dir)); !os.IsNotExist(err) {
		t.Fatalf("the record is left: %v", err)
	}
	awaitEnd(t, p)
}

// A command whose keeper was killed ends no other one: sandboxes may be in its namespaces.
func TestLeavingEndsNoOtherNamespaces(t *testing.T) {
	dir, old, now := t.TempDir(), newKeeper(t), newKeeper(t)
	if err := (&keeper{Keeper: now, path: keeperPath(dir)}).save(); err != nil {
		t.Fatal(err)
	}
	leaveAtOnce(t, dir, old, 1, func() {
		if err := syscall.Kill(old.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		awaitEnd(t, old)
	}, func() {})
	if k, ok := loadKeeper(dir); !ok || k.Keeper != now {
		t.Errorf("the record is %+v, %v", k, ok)
	}
}

func awaitEnd(t *testing.T, p process) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); p.lives(); {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives", p.PID)
		}
	}
}

// What the environment says alone has no effect: root could cover mounts of its host, and a command could lose its output.
func TestTheEnvironmentAloneStartsNoStage(t *testing.T) {
	for _, args := range [][]string{nil, {"rundlet"}, {"rundlet", "serve"}, {"rundlet", "run", stageFill}} {
		if name := stageOf(stageFill, args); name != "" {
			t.Errorf("%q is %s", args, name)
		}
	}
	for _, args := range [][]string{{stageLink}, {"rundlet", stageLink}} {
		if name := stageOf(stageLink, args); name != stageLink {
			t.Errorf("%q is %q", args, name)
		}
	}
	for _, text := range []string{"", "1,2:/tmp", "7", "7,8", "-1,-1:/", "x,y:/", strings.Repeat("9", 30)} {
		t.Setenv(envInside, text)
		if _, ok := inherit(); ok {
			t.Errorf("%q is inherited", text)
		}
	}
}
