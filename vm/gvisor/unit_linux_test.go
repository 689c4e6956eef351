package gvisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
)

func TestErrorsAreOneLine(t *testing.T) {
	err := failure("start", "a", nil, errors.New("boom\ngoroutine 1 [running]:\nsecret"))
	if text := err.Error(); strings.Contains(text, "secret") || !strings.Contains(text, "boom") {
		t.Errorf("%q", text)
	}
	if err := failure("start", "a", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for name, c := range map[string]Config{
		"no directories": {},
		"relative":       {StateDir: "s", RunDir: "r"},
		"comma":          {StateDir: dir + "/a,size=1", RunDir: dir},
		"long":           {StateDir: dir, RunDir: dir + strings.Repeat("/long", 20)},
		"instance":       {StateDir: dir, RunDir: dir, Instance: "../x"},
		"cgroups":        {StateDir: dir, RunDir: dir, Cgroups: "maybe"},
	} {
		if _, err := New(c); !errors.Is(err, vm.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "snapshots")); err == nil {
		t.Error("a refused configuration made directories")
	}
}

func TestCheck(t *testing.T) {
	needRoot(t)
	for _, p := range Check(t.TempDir()) {
		if p.What == engine.ErrMissing.Error() && engine.Program.Digest() == "" {
			continue // A clean clone.
		}
		if p.Fatal || p.What == "" || p.Hint == "" {
			t.Errorf("%+v", p)
		}
	}
	if !slices.ContainsFunc(Check("/proc/self"), func(p vm.Problem) bool { return strings.Contains(p.What, "tmpfs") }) {
		t.Error("a run directory that is not a tmpfs was not reported")
	}
}
