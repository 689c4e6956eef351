package gvisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// TestEveryProcessOfAMachineIsInItsGroup also after a restore, which makes other processes.
func TestEveryProcessOfAMachineIsInItsGroup(t *testing.T) {
	d := newDriver(t)
	if !d.limits {
		t.Skip("this host has no usable control groups")
	}
	s := guestSpec(t)
	s.VCPUs, s.MemoryMiB = 1, 128
	start(t, d, "a", s)
	checkGroup(t, d, "a")
	if err := d.Snapshot(testContext(t), "a", "one"); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(testContext(t), "b", resumed(t, "a", "one")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Destroy(testContext(t), "b") })
	checkGroup(t, d, "b")
}

func checkGroup(t *testing.T, d *Driver, id string) {
	t.Helper()
	m := mustFind(t, d, id)
	data, err := os.ReadFile(filepath.Join(d.dirs.Bundle(m.Key), launch.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var l launch.File
	if err := json.Unmarshal(data, &l); err != nil {
		t.Fatal(err)
	}
	if born := cgroups.Mounted() == "v2"; born != (len(l.Join) == 0) || born != m.group.CloneInto() {
		t.Errorf("%s: born in its group: %t, its processes join by %q", id, m.group.CloneInto(), l.Join)
	}
	for _, p := range []*process.Process{m.sandbox, m.gofer} {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/cgroup", p.PID))
		if err != nil || len(threads) == 0 {
			t.Fatalf("%s: process %d has no threads: %v", id, p.PID, err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if os.IsNotExist(err) {
				continue // It has ended.
			}
			if n := strings.Count(string(text), d.dirs.Cgroup(m.Key)+"\n"); err != nil || n != len(m.group.ProcsFiles()) {
				t.Errorf("%s: %s, %v:\n%s", id, thread, err, text)
			}
		}
	}
}
