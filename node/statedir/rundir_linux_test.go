package statedir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/layout"
)

// A daemon that does not see the machines of the one before would take their
// sandboxes for lost.
func TestUserDataOutlivesAStartWithAnotherRunDirectory(t *testing.T) {
	first := layout.Layout{StateDir: t.TempDir(), RunDir: t.TempDir()}
	second := layout.Layout{StateDir: first.StateDir, RunDir: t.TempDir()}
	fits := func(dirs layout.Layout) {
		t.Helper()
		if err := CheckRunDir(dirs); err != nil {
			t.Error(err)
		}
	}
	fits(first)
	fits(second) // Nothing runs in the first.
	fits(first)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	machine := filepath.Join(first.InstanceDir(first.Instance()), "vm", "machines", "a.json")
	if err := os.MkdirAll(filepath.Dir(machine), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, machine, `{"id":"i1","boot_id":"`+strings.TrimSpace(string(boot))+`"}`)
	for range 2 {
		if err := CheckRunDir(second); err == nil || !strings.Contains(err.Error(), first.RunDir) {
			t.Errorf("a machine runs in the first: %v", err)
		}
	}
	fits(first)
	write(t, machine, `{"id":"i1","boot_id":"of another boot"}`)
	fits(second)
}
