package embedded

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

// archive is a directory bin with a program for this architecture.
func archive(t *testing.T, content string) fstest.MapFS {
	t.Helper()
	var packed bytes.Buffer
	if err := Pack(&packed, strings.NewReader(content)); err != nil {
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

// The name of a file can be computed from the file, which may come from elsewhere.
func TestTheDigestIsThatOfTheProgram(t *testing.T) {
	sum := sha256.Sum256([]byte("one"))
	if got := New(archive(t, "one"), "tool", nil).Digest(); got != hex.EncodeToString(sum[:]) {
		t.Errorf("%q", got)
	}
	// One that a build of an earlier time left has no digest.
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	zw.Close()
	missing := errors.New("missing")
	p := New(fstest.MapFS{"bin/" + File("tool", runtime.GOARCH): {Data: packed.Bytes()}}, "tool", missing)
	if _, err := p.Extract(t.TempDir()); !errors.Is(err, missing) || p.Base() != "" {
		t.Errorf("%v, %q", err, p.Base())
	}
	// Nor does a wrong one give a program its name.
	other := archive(t, "two")["bin/"+File("tool", runtime.GOARCH)].Data
	wrong := bytes.Replace(other, []byte(New(archive(t, "two"), "tool", nil).Digest()), []byte(hex.EncodeToString(sum[:])), 1)
	dir := t.TempDir()
	if path, err := New(fstest.MapFS{"bin/" + File("tool", runtime.GOARCH): {Data: wrong}}, "tool", nil).Extract(dir); err == nil {
		t.Errorf("it is %s", path)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	if err := Pack(&packed, strings.NewReader("program")); err != nil {
		t.Fatal(err)
	}
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
