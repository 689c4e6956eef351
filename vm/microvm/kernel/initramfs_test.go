//go:build linux

package kernel

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"testing"
)

// entry is one of a cpio archive, with the fields that a test looks at.
type entry struct {
	mode, major, minor int64
	data               string
}

// readArchive reads an archive as the kernel does (Documentation/driver-api/early-userspace/buffer-format.rst).
func readArchive(t *testing.T, data []byte) (names []string, entries map[string]entry) {
	t.Helper()
	entries = map[string]entry{}
	r := bytes.NewReader(data)
	take := func(n int64) string {
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	align := func() {
		for (len(data)-r.Len())%4 != 0 {
			take(1)
		}
	}
	for {
		align()
		if magic := take(6); magic != "070701" {
			t.Fatalf("an entry begins with %q", magic)
		}
		var fields [13]int64
		for i := range fields {
			v, err := strconv.ParseInt(take(8), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			fields[i] = v
		}
		name, ended := strings.CutSuffix(take(fields[11]), "\x00")
		align()
		if !ended {
			t.Fatalf("name %q", name)
		}
		if name == "TRAILER!!!" {
			return names, entries
		}
		names = append(names, name)
		entries[name] = entry{mode: fields[1], major: fields[9], minor: fields[10], data: take(fields[6])}
	}
}

func TestInitramfs(t *testing.T) {
	k, err := Install(t.Context(), t.TempDir(), extract(t, files(t, ".xz")), nil)
	if err != nil {
		t.Fatal(err)
	}
	var once, again bytes.Buffer
	first := []byte("first process")
	if err := errors.Join(Initramfs(&once, k, first), Initramfs(&again, k, first)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(once.Bytes(), again.Bytes()) {
		t.Error("the same input makes other bytes")
	}
	names, entries := readArchive(t, once.Bytes())
	want := map[string]entry{"init": {mode: 0o100755, data: "first process"}, "dev/console": {mode: 0o20600, major: 5, minor: 1}}
	list := ""
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "modules"} {
		want[dir] = entry{mode: 0o40755}
	}
	for i, name := range wantModules {
		list += "/modules/" + name + "\n"
		data, err := ReadModule(k.Modules[i])
		if err != nil {
			t.Fatal(err)
		}
		want["modules/"+name] = entry{mode: 0o100644, data: string(data)}
	}
	want["modules.list"] = entry{mode: 0o100644, data: list}
	made := map[string]bool{"": true}
	for _, name := range names {
		if dir := name[:max(0, strings.LastIndex(name, "/"))]; !made[dir] {
			t.Errorf("%s comes before its directory", name)
		}
		made[name] = true
		if entries[name] != want[name] {
			t.Errorf("%s: mode %o, device %d:%d, %d bytes", name, entries[name].mode, entries[name].major, entries[name].minor, len(entries[name].data))
		}
	}
	if len(names) != len(want) {
		t.Errorf("entries %q", names)
	}

	k.Modules = append(k.Modules, k.Image+"-gone")
	if err := Initramfs(io.Discard, k, first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a module that is gone: %v", err)
	}
	if err := Initramfs(fullDisk{}, Kernel{}, make([]byte, 1<<20)); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
}

var errFull = errors.New("full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }
