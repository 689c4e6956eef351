package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsr(t *testing.T) {
	statuses := func(root string) map[string]Status {
		out := map[string]Status{}
		for _, f := range usr(root) {
			out[f.Name] = f.Status
		}
		return out
	}
	root := t.TempDir()
	for _, d := range []string{"usr/bin", "usr/lib", "etc/alternatives", "opt"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := statuses(root); got["base: /usr"] != Fail || got["base: bash"] != Fail || got["base: git"] != Warn {
		t.Errorf("empty machine: %v", got)
	}
	for name, target := range map[string]string{
		"bin": "usr/bin", "lib": "/usr/lib",
		"usr/bin/python3": "python3.11", "usr/bin/node": "../../opt/node", "usr/bin/git": "../../etc/alternatives/git",
		"etc/alternatives/git": "../../usr/bin/git.real",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"usr/bin/bash", "usr/bin/python3.11", "opt/node", "usr/bin/git.real"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]Status{"base: /usr": OK, "base: bash": OK, "base: python3": OK, "base: node": Warn, "base: git": OK}
	got := statuses(root)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: got %s, want %s", name, got[name], want[name])
		}
	}
}

func TestTheDoctorNamesTheToolsThatTheBaseLacks(t *testing.T) {
	root := t.TempDir()
	put := func(name string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, tool := range otherTools {
		if tool.name != "gh" && tool.name != "npm" && tool.name != "npx" {
			put(filepath.Join("usr", []string{"bin", "local/bin", "sbin"}[i%3], tool.name))
		}
	}
	f := tools(root)
	if f.Status != Info || !strings.HasSuffix(f.Detail, ": npm, npx, gh, python3 -m venv") || f.Hint != "apt-get install gh npm python3-venv" {
		t.Errorf("%+v", f)
	}
	for _, name := range []string{"usr/local/bin/gh", "usr/bin/npm", "usr/bin/npx", "usr/share/python-wheels/pip-23.0.1-py3-none-any.whl"} {
		put(name)
	}
	if f := tools(root); f.Status != OK || f.Hint != "" {
		t.Errorf("%+v", f)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	if f := disk(filepath.Join(dir, "not/there/yet")); f.Name != "disk" || f.Detail == "" || f.Status == Fail && f.Hint == "" {
		t.Errorf("got %+v", f)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := disk(filepath.Join(file, "below")); f.Status != Fail {
		t.Errorf("below a file: %+v", f)
	}
}

func TestRoot(t *testing.T) {
	if f := rootFinding(0); f.Status != OK {
		t.Errorf("root: %+v", f)
	}
	if f := rootFinding(1000); f.Status != Fail || f.Hint == "" {
		t.Errorf("user: %+v", f)
	}
}
