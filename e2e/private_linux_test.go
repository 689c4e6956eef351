package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoFileOfOursMakesRootOrIsForOthers looks at every file after a life: in
// directories that a service manager made, and at a backup beside them.
func TestNoFileOfOursMakesRootOrIsForOthers(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "private-")
	if err != nil {
		t.Fatal(err)
	}
	roots := []string{filepath.Join(dir, "state"), filepath.Join(dir, "cache"), "/run/rundlet"}
	for _, root := range roots {
		if err := errors.Join(os.MkdirAll(root, 0o755), os.Chmod(root, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	srv := startServer(t, dir)
	api := srv.api()
	sb, err := api.Create(t.Context(), "base", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	// The positive control: what is not set-uid on the host is in the guest.
	asUser := func(when string) {
		t.Helper()
		if out, err := run(t.Context(), api, sb, "id -un; sudo id -un; sudo sh -c 'echo $SUDO_USER \"$0\"' 'a b'"); err != nil || out != "user\nroot\nuser a b\n" {
			t.Errorf("%s: %q, %v", when, out, err)
		}
	}
	asUser("new")
	running, err := api.Create(t.Context(), "base", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.Snapshot(t.Context(), running.ID, "one")
	if err := errors.Join(err, api.Pause(t.Context(), sb.ID, true)); err != nil {
		t.Fatal(err)
	}
	if sb, _, err = api.Connect(t.Context(), sb.ID, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	asUser("resumed")
	if err := api.Pause(t.Context(), sb.ID, false); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(dir, "backup")
	cmd := exec.Command(os.Getenv(binEnv), "backup", backup)
	cmd.Env = srv.cmd.Env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	files := 0
	for _, root := range append(roots, backup) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // The daemon works on.
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil || info.Mode().Type() == fs.ModeSymlink || onNsfs(path) {
				return nil
			}
			files++
			// Guests see the modes of their template, and its agent is from the cache.
			guests := strings.HasPrefix(path, filepath.Join(roots[0], "templates", "base")) || strings.HasPrefix(path, filepath.Join(roots[1], "agent"))
			// A sandbox process gives up its rights and starts it again; others are kept out by the directory.
			engine := filepath.Dir(path) == filepath.Join(roots[0], "drivers", "gvisor", "engines") && info.Mode() == 0o755
			switch mode := info.Mode(); {
			case mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
				t.Errorf("%s is %v", path, mode)
			case mode.Perm()&0o077 != 0 && !guests && !engine:
				t.Errorf("%s is for others: %v", path, mode)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
	if sb, _, err = api.Connect(t.Context(), sb.ID, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	asUser("booted from its files")
	srv.stop(t)
}

// onNsfs reports whether a file is a namespace, whose mode the kernel sets.
func onNsfs(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// TestNothingOfTheHostIsInASandbox looks for what says which host it is, and for
// a secret in the daemon's environment, as root of a sandbox.
func TestNothingOfTheHostIsInASandbox(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir, err := os.MkdirTemp(os.Getenv(dirEnv), "private-")
	if err != nil {
		t.Fatal(err)
	}
	marks := []string{"daemon-environment-mark", dir, filepath.Base(dir)}
	for _, file := range []string{"/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/sys/class/dmi/id/product_uuid", "/proc/version"} {
		if text, err := os.ReadFile(file); err == nil && len(strings.TrimSpace(string(text))) > 8 {
			marks = append(marks, strings.TrimSpace(string(text)))
		}
	}
	srv := launchServer(t, dir, []string{"MARK=" + marks[0]}, cold...)
	if err := srv.waitReady(); err != nil {
		t.Fatal(err)
	}
	if srv.sdkEnv, err = sdkEnv(srv.cmd.Env, plainEnv...); err != nil {
		t.Fatal(err)
	}
	api := srv.api()
	sb, err := api.Create(t.Context(), "base", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	// The file that has them is the positive control. A guest's command line and
	// environment may have them, since this one has: all but those are read.
	out, err := run(t.Context(), api, sb, "cat > ~/control <<'END'\n"+strings.Join(marks, "\n")+"\nEND\n"+
		`sudo timeout 60 grep -rslIFf ~/control /etc /home /root /run /var /tmp /sys /proc/[1-9]/environ /proc/[1-9]/mountinfo /proc/[a-fh-z]* \
			--exclude-dir=self --exclude-dir=thread-self | sort -u; sudo cat /proc/1/environ | tr '\0' '\n' | sort`)
	if err != nil {
		t.Fatal(err)
	}
	const want = "/home/user/control\nHOME=/root\nLANG=C.UTF-8\nPATH=/.rundlet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
	if out != want {
		t.Errorf("files with marks of the host, and the environment of the first process:\n%s\nwant\n%s", out, want)
	}
	srv.stop(t)
}
