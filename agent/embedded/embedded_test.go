package embedded

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Both states of a build are right: with the agent inside, and a clean clone.
func TestExtract(t *testing.T) {
	dir := t.TempDir()
	path, err := Extract(dir)
	if Digest() == "" {
		if !errors.Is(err, ErrMissing) {
			t.Fatalf("%q %v", path, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(path)
	if err != nil || first.Mode().Perm() != 0o755 || first.Size() < 1<<20 {
		t.Fatalf("%v %v", first, err)
	}
	again, err := Extract(dir)
	if err != nil || again != path {
		t.Fatalf("%q %v", again, err)
	}
	if second, err := os.Stat(path); err != nil || !os.SameFile(first, second) {
		t.Errorf("extracted twice: %v", err)
	}
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	zw.Write([]byte("program"))
	zw.Close()
	path := filepath.Join(dir, "agent")
	if err := unpack(packed.Bytes()[:packed.Len()-9], path); err == nil {
		t.Error("half an archive was unpacked")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
	if err := unpack(packed.Bytes(), path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if b, _ := os.ReadFile(path); err != nil || string(b) != "program" || info.Mode().Perm() != 0o755 {
		t.Errorf("%q %v %v", b, info, err)
	}
	if err := unpack(packed.Bytes(), filepath.Join(dir, "none", "agent")); err == nil {
		t.Error("unpacked into a directory that does not exist")
	}
}
