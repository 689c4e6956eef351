//go:build linux

package firstboot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestApplyOnce(t *testing.T) {
	root := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Apply(root); err != nil {
		t.Fatalf("nothing asked for: %v", err)
	}
	put("usr/bin/pip", "the host's")
	put("usr/lib/marker", "")
	put(File, "link /usr/bin/python python3\nlink /usr/bin/pip pip3\n\nremove /usr/lib/marker\nremove /usr/lib/other\nfly /usr/bin\nlink /usr/bin/last python3\n")
	if err := Apply(root); err == nil || !strings.Contains(err.Error(), `"fly /usr/bin"`) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"python", "last"} {
		if target, err := os.Readlink(filepath.Join(root, "usr/bin", name)); err != nil || target != "python3" {
			t.Errorf("%s: %q, %v", name, target, err)
		}
	}
	if content, err := os.ReadFile(filepath.Join(root, "usr/bin/pip")); err != nil || string(content) != "the host's" {
		t.Errorf("pip: %q, %v", content, err)
	}
	if _, err := os.Lstat(filepath.Join(root, "usr/lib/marker")); !os.IsNotExist(err) {
		t.Errorf("marker: %v", err)
	}
	// What a guest removes stays removed when it is booted again.
	if err := os.Remove(filepath.Join(root, "usr/bin/python")); err != nil {
		t.Fatal(err)
	}
	if err := Apply(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(root, "usr/bin/python")); !os.IsNotExist(err) {
		t.Errorf("python is back: %v", err)
	}
}
