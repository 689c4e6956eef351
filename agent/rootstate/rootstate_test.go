//go:build linux

package rootstate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/envd"
)

// guest makes a root with nothing but what every guest has; pid 1 is this process.
func guest(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	mounts := "18 17 0:20 / / rw - overlay none rw\n"
	for at := range map[string]bool{"/proc": true, "/sys": true, "/dev": true, "/dev/pts": true, "/dev/shm": true} {
		if err := os.MkdirAll(filepath.Join(root, at), 0o755); err != nil {
			t.Fatal(err)
		}
		mounts += "19 18 0:21 / " + at + " rw - some none rw\n"
	}
	put(t, root, "proc/self/mountinfo", mounts)
	put(t, root, "proc/cpuinfo", "")
	if err := os.Symlink("/proc/self/fd", filepath.Join(root, "dev/fd")); err != nil {
		t.Fatal(err)
	}
	put(t, root, "etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	return root
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatANewMachineWouldLack(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, root string)
		want   string // of what is lost; empty is nothing
	}{
		"nothing":             {func(*testing.T, string) {}, ""},
		"a process":           {func(t *testing.T, root string) { put(t, root, "proc/70000000/stat", "70000000 (my (odd) daemon) S 1") }, `the process 70000000 ("my (odd) daemon") runs`},
		"one that has ended":  {func(t *testing.T, root string) { put(t, root, "proc/70000000/stat", "70000000 (x) Z 1") }, ""},
		"a mount":             {func(t *testing.T, root string) { mount(t, root, "/mnt") }, `something is mounted at "/mnt"`},
		"a mount over one":    {func(t *testing.T, root string) { mount(t, root, "/proc") }, `something is mounted at "/proc"`},
		"the agent's mount":   {func(t *testing.T, root string) { mount(t, root, "/proc/sys/kernel/random/boot_id") }, ""},
		"shared memory":       {func(t *testing.T, root string) { put(t, root, "dev/shm/sem", "") }, `"/dev/shm/sem" is in memory`},
		"a file in /dev":      {func(t *testing.T, root string) { put(t, root, "dev/log", "") }, `"/dev/log" is in memory`},
		"one further below":   {func(t *testing.T, root string) { put(t, root, "dev/net/file", "") }, `"/dev/net/file" is in memory`},
		"/tmp of the root":    {func(t *testing.T, root string) { put(t, root, "tmp/x", "") }, ""},
		"/tmp of a mount":     {func(t *testing.T, root string) { put(t, root, "tmp/x", ""); mount(t, root, "/tmp") }, `"/tmp/x" is in memory`},
		"two names of a pipe": {func(t *testing.T, root string) { fifo(t, root, "p"); link(t, root, "p", "q") }, `"/p" has several names`},
		"too many pipes": {func(t *testing.T, root string) {
			for i := range mostExtras + 1 {
				fifo(t, root, strings.Repeat("p", 1+i%200)+strings.Repeat("q", i/200))
			}
		}, "there are too many special files"},
	} {
		t.Run(name, func(t *testing.T) {
			root := guest(t)
			c.change(t, root)
			got, err := Of(t.Context(), root, 0)
			if err != nil {
				t.Fatal(err)
			}
			lost := strings.Join(got.Lost, "\n")
			if (lost == "") != (c.want == "") || !strings.Contains(lost, c.want) {
				t.Errorf("lost is %q, want %q", lost, c.want)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Of(ended, guest(t), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	// Where little was written, no file is looked at.
	if state, err := Of(ended, guest(t), math.MaxInt64); err != nil || state.LayerBytes == 0 || len(state.Lost) > 0 {
		t.Errorf("with a bound: %+v, %v", state, err)
	}
}

func mount(t *testing.T, root, at string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "proc/self/mountinfo"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteString("30 18 0:30 / " + at + " rw - tmpfs none rw\n"); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
}

func fifo(t *testing.T, root, name string) {
	t.Helper()
	if err := unix.Mkfifo(filepath.Join(root, name), 0o640); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, root, from, to string) {
	t.Helper()
	if err := os.Link(filepath.Join(root, from), filepath.Join(root, to)); err != nil {
		t.Fatal(err)
	}
}

// What one guest has that an image cannot have, another one gets.
func TestExtrasAreMadeAnew(t *testing.T) {
	from, to, exact := guest(t), guest(t), time.Unix(1_600_000_000, 123_456_789)
	for _, root := range []string{from, to} {
		put(t, root, "d/file", "content")
		put(t, root, "d/big", strings.Repeat("x", 5000))
	}
	fifo(t, from, "d/pipe\xff")
	at := func(root, name string) string { return filepath.Join(root, name) }
	if err := errors.Join(unix.Mknod(at(from, "d/socket"), unix.S_IFSOCK|0o600, 0), os.Chmod(at(from, "d/pipe\xff"), 0o604),
		os.Chtimes(at(from, "d/pipe\xff"), exact, exact), unix.Lsetxattr(at(from, "d/file"), "user.note", []byte("a\x00\xff"), 0),
		unix.Lsetxattr(at(from, "d/file"), "user.empty", nil, 0), unix.Lsetxattr(at(from, "d"), "user.dir", []byte("1"), 0)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Lchown(at(from, "d/socket"), 70000, 4), unix.Mknod(at(from, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))); err != nil {
			t.Fatal(err)
		}
	}
	before, err := Of(t.Context(), from, 0)
	if err != nil || len(before.Lost) > 0 || before.LargestBytes != 5000 || len(before.Extras) < 4 {
		t.Fatalf("%+v, %v", before, err)
	}
	old := time.Unix(1_500_000_000, 5)
	if err := errors.Join(os.Chtimes(at(to, "d"), old, old), os.Chtimes(to, old, old)); err != nil {
		t.Fatal(err)
	}
	put(t, to, "d/socket", "in the way")
	if err := os.Chtimes(at(to, "d"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := Restore(to, before.Extras); err != nil {
		t.Fatal(err)
	}
	after, err := Of(t.Context(), to, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range before.Extras {
		if i >= len(after.Extras) {
			t.Errorf("%s is not there", want.Path)
			continue
		}
		got := after.Extras[i]
		if !bytes.Equal(got.Path, want.Path) || got.Mode != want.Mode || got.UID != want.UID || got.GID != want.GID || got.Device != want.Device || got.Modified != want.Modified ||
			len(got.Attributes) != len(want.Attributes) {
			t.Errorf("is   %+v\nwant %+v", got, want)
		}
		for name, value := range want.Attributes {
			if !bytes.Equal(got.Attributes[name], value) {
				t.Errorf("%s of %s is %q, want %q", name, want.Path, got.Attributes[name], value)
			}
		}
	}
	for _, dir := range []string{to, at(to, "d")} {
		if info, err := os.Stat(dir); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s has the time %v, want %v", dir, info.ModTime(), old)
		}
	}
	if err := Restore(to, []envd.Extra{{Path: []byte("/none/pipe"), Mode: unix.S_IFIFO}}); err == nil {
		t.Error("a pipe in a directory that is not there is made")
	}
	// No name leads out of the root.
	if err := Restore(to, []envd.Extra{{Path: []byte("/../../pipe"), Mode: unix.S_IFIFO | 0o600}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(at(to, "pipe")); err != nil {
		t.Error(err)
	}
}

func TestTimesHaveTheirFractions(t *testing.T) {
	root := guest(t)
	exact := time.Unix(1_600_000_000, 123_456_789)
	put(t, root, "d/whole", "")
	put(t, root, "d/odd\xff\n", "")
	put(t, root, "dev/shm/x", "")
	for name, at := range map[string]time.Time{"d/whole": time.Unix(5, 0), "d/odd\xff\n": exact, "d": time.Unix(-7, 3)} {
		if err := os.Chtimes(filepath.Join(root, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := Times(t.Context(), root, &out); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for out.Len() > 0 {
		name, err := out.ReadBytes(0)
		if err != nil || out.Len() < 8 {
			t.Fatalf("it breaks off at %q", name)
		}
		got[string(name[:len(name)-1])] = int64(binary.BigEndian.Uint64(out.Next(8)))
	}
	if got["/d/odd\xff\n"] != exact.UnixNano() || got["/d"] != time.Unix(-7, 3).UnixNano() {
		t.Errorf("times are %v", got)
	}
	for name := range got {
		if name == "/d/whole" || slices.ContainsFunc([]string{"/dev/", "/proc/"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%q is among the times", name)
		}
	}
	failed := errors.New("full")
	if err := Times(t.Context(), root, failing{failed}); !errors.Is(err, failed) {
		t.Error(err)
	}
}

func TestTimesBefore1970(t *testing.T) {
	for want, at := range map[int64]unix.Timespec{
		-500_000_000:               {Sec: 0, Nsec: 1<<32 - 500_000_000}, // As gVisor gives it,
		-1_999_999_999_999_999_999: {Sec: -1_999_999_999, Nsec: 1<<32 - 999_999_999},
		-1_500_000_000:             {Sec: -2, Nsec: 500_000_000}, // and as Linux does.
		1_999_999_999:              {Sec: 1, Nsec: 999_999_999},
	} {
		if got := nanoseconds(at); got != want {
			t.Errorf("%+v is %d, want %d", at, got, want)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
