package embedded

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/fstest"
)

// archive is a directory bin with a program for this architecture.
func archive(t *testing.T, content string) fstest.MapFS {
	t.Helper()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"bin/" + File("tool", runtime.GOARCH): {Data: packed.Bytes()}}
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	p := New(archive(t, "one"), "tool", nil)
	path, err := p.Extract(dir)
	if err != nil || filepath.Base(path) != p.Base() || p.Base() != "tool-"+p.Digest()[:16] {
		t.Fatal(path, p.Base(), err)
	}
	first, err := os.Stat(path)
	if err != nil || first.Mode().Perm() != 0o755 {
		t.Fatalf("%v %v", first, err)
	}
	again, err := p.Extract(dir)
	if err != nil || again != path {
		t.Fatalf("%q %v", again, err)
	}
	if second, err := os.Stat(path); err != nil || !os.SameFile(first, second) {
		t.Errorf("extracted twice: %v", err)
	}
	if err := os.Truncate(path, 1); err != nil {
		t.Fatal(err)
	}
	if again, err := p.Extract(dir); err != nil || again != path {
		t.Errorf("%q, %v", again, err)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "one" {
		t.Errorf("a file that was cut is %q afterwards, %v", content, err)
	}
	if other, err := New(archive(t, "two"), "tool", nil).Extract(dir); err != nil || other == path {
		t.Errorf("another program has the name %q, %v", other, err)
	}
}

func TestABinaryWithoutTheProgramSaysSo(t *testing.T) {
	missing := errors.New("missing")
	p := New(fstest.MapFS{}, "tool", missing)
	if path, err := p.Extract(t.TempDir()); !errors.Is(err, missing) || path != "" || p.Digest() != "" || p.Base() != "" {
		t.Errorf("%q, %v, %q, %q", path, err, p.Digest(), p.Base())
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
