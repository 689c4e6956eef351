//go:build linux

package testspace

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	outerEnv = "TESTSPACE_OUTER" // what the run inside does
	innerEnv = "TESTSPACE_INNER"
)

// TestMain is the run that Again makes, and the one around it.
func TestMain(m *testing.M) {
	does := os.Getenv(outerEnv)
	switch {
	case os.Getenv(innerEnv) != "":
		inside(does)
	case does != "":
		os.Exit(Again(innerEnv+"=1", func(pid int) string { return group(does, pid) }))
	}
	os.Exit(m.Run())
}

// group begins the names of the control groups of a run: other packages' tests, which run meanwhile, have others.
func group(does string, pid int) string { return fmt.Sprintf("rundlet-testspace-%s-%d-", does, pid) }

// inside leaves a process with a process, and a control group, as tests do that are broken off.
func inside(does string) {
	if does == "clean" {
		os.Exit(0)
	}
	group := filepath.Join(os.Getenv("TESTSPACE_GROUPS"), group(does, os.Getpid())+"1", "inner")
	if err := os.MkdirAll(group, 0o700); err != nil {
		panic(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $! $$; wait")
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	if does == "waits" {
		select {}
	}
	os.Exit(0)
}

// again runs this binary, and returns its output and exit code. stop is called with its process once it has written a line.
func again(t *testing.T, does string, stop func(*os.Process)) (string, int) {
	t.Helper()
	groups, err := filepath.Glob("/sys/fs/cgroup/pids") // Any one: v1 has many, v2 the root.
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.Join(append(groups, "/sys/fs/cgroup")[:1], "")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), outerEnv+"="+does, "TESTSPACE_GROUPS="+dir)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	line := make([]byte, 100)
	n, _ := r.Read(line)
	if stop != nil {
		stop(cmd.Process)
	}
	_ = cmd.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, fmt.Sprintf("rundlet-testspace-%s-*", does))); len(left) > 0 {
		t.Errorf("%s: control groups are left: %v", does, left)
	}
	for field := range strings.FieldsSeq(string(line[:n])) {
		if _, err := os.Stat("/proc/" + field); err == nil {
			t.Errorf("%s: process %s is left", does, field)
		}
	}
	return errs.String(), cmd.ProcessState.ExitCode()
}

func TestNothingOutlivesARun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("namespaces and control groups need root")
	}
	if text, code := again(t, "clean", nil); code != 0 || text != "" {
		t.Errorf("a run that leaves nothing: exit %d, %s", code, text)
	}
	if text, code := again(t, "leaves", nil); code != 1 || !strings.Contains(text, "processes outlived the tests") {
		t.Errorf("a run that leaves processes: exit %d, %s", code, text)
	}
	begin := time.Now()
	text, code := again(t, "waits", func(p *os.Process) { _ = p.Signal(unix.SIGTERM) })
	if code != 1 {
		t.Errorf("a run that is broken off: exit %d, %s", code, text)
	}
	t.Logf("broken off in %v", time.Since(begin))
}
