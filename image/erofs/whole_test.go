//go:build linux

package erofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

// TestTheSuperblockLeadsToTheRoot whatever its size: one that does not fit beside the
// superblock begins the next block.
func TestTheSuperblockLeadsToTheRoot(t *testing.T) {
	for last := 1; last <= 250; last += 3 {
		files := fstest.MapFS{strings.Repeat("z", last): {}}
		for i := range 15 {
			files[fmt.Sprintf("%02d%s", i, strings.Repeat("x", 234))] = &fstest.MapFile{}
		}
		image := makeImage(t, FS(files), Options{})
		data, err := os.ReadFile(image.Path)
		if err != nil {
			t.Fatal(err)
		}
		root := int(binary.LittleEndian.Uint16(data[superOffset+14:]))
		at := int(binary.LittleEndian.Uint32(data[superOffset+40:]))<<blockBits + root*inodeUnit
		if mode := binary.LittleEndian.Uint16(data[at+4:]); mode&unix.S_IFMT != unix.S_IFDIR {
			t.Fatalf("with a last name of %d bytes the root has mode %o", last, mode)
		}
	}
}

func TestWhole(t *testing.T) {
	image := makeImage(t, FS(fstest.MapFS{"file": {Data: []byte("content")}}), Options{})
	data, err := os.ReadFile(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(data)
	flipped[superOffset+36] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"whole": {data, true}, "cut": {data[:len(data)-1], false}, "longer": {append(bytes.Clone(data), 0), false}, "empty": {nil, false},
		"zeros": {make([]byte, len(data)), false}, "another number of blocks": {flipped, false},
	} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Whole(path); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if Whole(t.TempDir()) || Whole(filepath.Join(t.TempDir(), "none")) {
		t.Error("a directory, or nothing, is an image")
	}
}

// An image that its maker refuses never has its name, and one that is there keeps it.
func TestAnImageThatIsRefusedHasNoName(t *testing.T) {
	dir, refused := t.TempDir(), errors.New("the tree has changed")
	tree := FS(fstest.MapFS{"file": {Data: []byte("content")}})
	check := func() error {
		if _, err := os.Stat(filepath.Join(dir, "name")); err == nil {
			t.Error("it has its name before the check")
		}
		return refused
	}
	if _, err := Make(t.Context(), tree, dir, Options{Name: "name", Check: check}); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != lockFile {
		t.Errorf("left are %v, %v", entries, err)
	}
	image, err := Make(t.Context(), tree, dir, Options{Name: "name", Check: func() error { return nil }})
	if err != nil || image.Path != filepath.Join(dir, "name") || !Whole(image.Path) {
		t.Errorf("%+v, %v", image, err)
	}
}

// What a process left that died is removed, and what one is writing is not.
func TestCleanRemovesWhatIsNotBeingWritten(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, unfinished)
	if err := errors.Join(Clean(dir), os.WriteFile(temp, []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	lock, err := flock.Try(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := Clean(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(temp); err != nil {
		t.Errorf("an image in the making was removed: %v", err)
	}
	lock.Close()
	if err := Clean(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(temp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}
