package crashdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	namespaceEnv = "RUNDLET_CRASHDISK_TEST"
	// holdEnv names a directory: TestMain makes a disk in it and waits to be killed.
	holdEnv = "RUNDLET_CRASHDISK_HOLD"
)

// TestMain runs the tests in a separate mount namespace: whatever they leave
// mounted goes with it.
func TestMain(m *testing.M) {
	ServeIfAsked()
	if os.Getenv(namespaceEnv) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "make mounts private:", err)
			os.Exit(1)
		}
		if dir := os.Getenv(holdEnv); dir != "" {
			hold(dir)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "start the tests in a mount namespace (are you root?):", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

// hold uses a disk, says so with the number of its loop device, and waits.
func hold(dir string) {
	d, err := Start(filepath.Join(dir, "disk"), filepath.Join(dir, "target"), 256<<20)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "target", "file"), make([]byte, 8<<20), 0o600)
	}
	fmt.Println(d.loop, err)
	io.Copy(io.Discard, os.Stdin)
}

// start makes a disk that is gone at the end of the test, and checks that it is.
func start(t *testing.T) (d *Disk, target string) {
	t.Helper()
	target = t.TempDir()
	d, err := Start(t.TempDir(), target, 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil || strings.Contains(string(mounts), d.dir) || strings.Contains(string(mounts), target) {
			t.Errorf("still mounted, %v:\n%s", err, mounts)
		}
		if err := syscall.Kill(d.server.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the server is still there: %v", err)
		}
	})
	return d, target
}

// put writes a file, durably or not, and returns the position at which it was done.
func put(t *testing.T, d *Disk, path, content string, durable bool) int {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if durable {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	position, err := d.Position()
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func TestWhatWasSyncedSurvivesEveryCutAndWhatWasNotDoesNot(t *testing.T) {
	d, target := start(t)
	const files = 5
	var done []int
	for i := range files {
		name := filepath.Join(target, fmt.Sprint("file", i))
		done = append(done, put(t, d, name, strings.Repeat(fmt.Sprint(i), 10_000), true))
	}
	careless := put(t, d, filepath.Join(target, "careless"), "said to be there", false)
	put(t, d, filepath.Join(target, "last"), "synced", true)
	end, err := d.Position()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Unmount(); err != nil {
		t.Fatal(err)
	}
	cuts, err := d.Writes()
	if err != nil {
		t.Fatal(err)
	}
	cuts = slices.DeleteFunc(append(cuts, careless, end), func(p int) bool { return p > end })
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	if len(cuts) < 2*files {
		t.Fatalf("%d writes", len(cuts))
	}
	lost := false
	for _, cut := range cuts {
		for seed := range uint64(3) {
			if err := d.Cut(cut, seed); err != nil {
				t.Fatalf("cut at %d, seed %d: %v", cut, seed, err)
			}
			for i := range files {
				content, err := os.ReadFile(filepath.Join(target, fmt.Sprint("file", i)))
				if cut >= done[i] && (err != nil || string(content) != strings.Repeat(fmt.Sprint(i), 10_000)) {
					t.Errorf("cut at %d, seed %d: file %d has %d bytes, %v", cut, seed, i, len(content), err)
				}
				if cut < done[0] && len(content) == 10_000 && i > 0 {
					t.Errorf("cut at %d, seed %d: file %d is there before it was written", cut, seed, i)
				}
			}
			content, err := os.ReadFile(filepath.Join(target, "careless"))
			lost = lost || cut >= careless && (errors.Is(err, fs.ErrNotExist) || err == nil && len(content) == 0)
			if err := d.Unmount(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !lost {
		t.Error("what was not synced survives every cut: such a cut shows nothing")
	}
	t.Logf("%d cuts", 3*len(cuts))
}

// A test that fails in the middle leaves files open and processes behind.
func TestTheDiskGoesWhateverIsOpen(t *testing.T) {
	d, target := start(t)
	put(t, d, filepath.Join(target, "file"), "content", false)
	held, err := os.Open(filepath.Join(target, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Unmount(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmounting what is in use: %v", err)
	}
	held.Close()
}

func TestTheDiskFailsWhenItsServerIsKilled(t *testing.T) {
	target := t.TempDir()
	d, err := Start(t.TempDir(), target, 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err == nil {
		t.Error("its death is not reported")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), d.dir) || strings.Contains(string(mounts), target) {
		t.Errorf("still mounted, %v:\n%s", err, mounts)
	}
}

// The kernel unmounts what a killed test has mounted, and writes what it had not
// written yet: somebody must answer to that, or the device is held for ever.
func TestNothingIsLeftOfATestThatIsKilled(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"disk", "target"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	cmd.Stderr = os.Stderr
	// As in e2e, where init of a PID namespace takes all with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var loop int
	var failure string
	if _, err := fmt.Fscan(out, &loop, &failure); err != nil || failure != "<nil>" {
		t.Errorf("holding a disk: %v, %s", err, failure)
	}
	cmd.Process.Kill()
	cmd.Wait()
	err = poll(func() (bool, error) {
		// From here the path is that within a file system that is gone.
		backing, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", loop))
		return err != nil || !strings.HasSuffix(string(backing), "/"+diskName+"\n"), nil
	})
	if err != nil {
		t.Error(err)
	}
}
