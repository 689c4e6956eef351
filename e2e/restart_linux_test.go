package e2e

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestATerminatedDaemonLeavesItsSandboxesToTheNext(t *testing.T) {
	srv, api, dir := newServer(t)
	before := takeCensus(t, dir)
	all := createMany(t, api, 3)
	if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-srv.exited:
	case <-time.After(stopTimeout):
		t.Fatal("the server still runs")
	}
	if srv.err != nil {
		t.Errorf("the server ended with %v", srv.err)
	}
	srv = startServer(t, dir, cold...)
	for _, sb := range all {
		if out, err := run(t.Context(), api, sb, "cat ~/name"); err != nil || out != sb.ID+"\n" {
			t.Errorf("%s answers %q, %v", sb.ID, out, err)
		}
	}
	killAll(t, api, all)
	before.await(t, dir)
	srv.stop(t)
}

func TestACrashedRunIsClearedAwayByTheNext(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := t.TempDir()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(os.Getenv(binEnv), append([]string{"run", "--no-internet", "--interactive", "--"}, args...)...)
		cmd.Env = append(os.Environ(), "RUNDLET_STATE_DIR="+filepath.Join(dir, "state"), "RUNDLET_CACHE_DIR="+filepath.Join(dir, "cache"))
		return cmd
	}
	hello := func() {
		t.Helper()
		cmd := command("cat")
		in, errIn := cmd.StdinPipe()
		out, errOut := cmd.StdoutPipe()
		if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		io.WriteString(in, "hello\n")
		line, err := bufio.NewReader(out).ReadString('\n')
		ourInstances(dir) // It has another name, and only while it runs.
		in.Close()
		if err = errors.Join(err, cmd.Wait()); err != nil || line != "hello\n" {
			t.Fatalf("run: %q, %v", line, err)
		}
	}
	hello()
	before := takeCensus(t, dir)
	crash := command("sh", "-c", "echo started; sleep 600")
	out, err := crash.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // The next command does it, unless the test ends before.
		if crash.Process != nil {
			_ = crash.Process.Kill()
			_ = crash.Wait()
		}
		if err := clearAll(); err != nil {
			t.Error(err)
		}
	})
	if err := crash.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
		t.Errorf("read %q, %v", line, err)
	}
	crash.Process.Kill()
	crash.Wait()
	if during := takeCensus(t, dir); !before.exceededBy(during) {
		t.Error("a killed command leaves nothing: this test shows nothing")
	}
	hello()
	before.await(t, dir)
	for p := range processes(t) {
		if strings.Contains(p, "runsc") {
			t.Errorf("still there: %s", p)
		}
	}
}
