package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

func TestAFullDisk(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "full-")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	srv := startServer(t, dir, append(slices.Clone(cold), "--disk-overcommit=1000")...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(srv.logTail())
		}
	})
	api := srv.api()
	before, err := api.Create(t.Context(), "base", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	calm := takeCensus(t, dir)
	ballast := filepath.Join(state, "ballast")
	fill(t, ballast)
	// The database may find room for a row or two in what it has.
	var refused *client.Error
	var extra []client.Sandbox
	for range 200 {
		sb, err := api.Create(t.Context(), "base", time.Minute)
		if err == nil {
			extra = append(extra, sb)
			continue
		}
		if !errors.As(err, &refused) {
			t.Fatalf("create on a full disk: %v", err)
		}
		break
	}
	if refused == nil || refused.Code != 507 || !strings.Contains(refused.Message, "full") {
		t.Errorf("create on a full disk: %+v after %d more, want 507", refused, len(extra))
	}
	if out, err := run(t.Context(), api, before, "echo alive"); err != nil || out != "alive\n" {
		t.Errorf("a running sandbox on a full disk answers %q, %v", out, err)
	}
	for _, sb := range append(extra, before) {
		if err := api.Kill(t.Context(), sb.ID); err != nil {
			t.Errorf("kill on a full disk: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	sb, err := api.Create(t.Context(), "base", time.Minute)
	if err != nil {
		t.Fatalf("create when there is room again: %v", err)
	}
	calm.await(t, dir) // with one sandbox, as then
	if err := api.Kill(t.Context(), sb.ID); err != nil {
		t.Error(err)
	}
	srv.stop(t)
	if err := syscall.Unmount(state, 0); err != nil {
		t.Errorf("the state directory is still in use: %v", err)
	}
}

// fill writes a file until its file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		block := make([]byte, size)
		for err = error(nil); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func TestWithoutPrivilegeTheErrorSaysWhatToDo(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := errors.Join(os.Chown(d, 65534, 65534), os.Chmod(d, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "rundlet")
	copyFile(t, os.Getenv(binEnv), bin)
	for _, args := range [][]string{{"run", "--", "true"}, {"serve", "--listen", "127.0.0.1:3999"}} {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "RUNDLET_RUN_DIR="+filepath.Join(dir, "run"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "root") || !strings.Contains(string(out), "hint: ") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

// TestTheDiskOfAllSandboxesIsBounded promises two disks of 1 GiB: a third sandbox
// waits and is refused, the two go on, and when one ends there is a place again.
func TestTheDiskOfAllSandboxesIsBounded(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "disk-")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=512m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(state, syscall.MNT_DETACH) })
	srv := startServer(t, dir, append(slices.Clone(cold), "--disk-overcommit=5", "--queue-wait=1s")...)
	api := srv.api()
	var all []client.Sandbox
	for range 2 {
		sb, err := api.Create(t.Context(), "base", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sb)
	}
	var refused *client.Error
	if _, err := api.Create(t.Context(), "base", time.Minute); !errors.As(err, &refused) || refused.Code != 429 {
		t.Errorf("a third sandbox: %v, want 429", err)
	}
	for _, sb := range all {
		if out, err := run(t.Context(), api, sb, "head -c 1M /dev/zero > ~/f && echo ok"); out != "ok\n" || err != nil {
			t.Errorf("%s: %q, %v", sb.ID, out, err)
		}
	}
	if err := api.Kill(t.Context(), all[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Create(t.Context(), "base", time.Minute); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
	srv.stop(t)
}
