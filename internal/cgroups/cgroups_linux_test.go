package cgroups

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rundlet/rundlet/vm"
)

// newGroup makes a group that ends with the test.
func newGroup(t *testing.T, weight int) (*Group, string) {
	t.Helper()
	if Mounted() == "none" {
		t.Skip("this host has no control groups")
	}
	path := fmt.Sprintf("/rundlet-test-%d-%s", os.Getpid(), t.Name())
	limit := int64(1 << 30)
	g, err := New(path, &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: 77}}, weight)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { RemoveAt(path) })
	return g, path
}

func TestAGroupHasTheLimitsAndTheWeightThatItWasMadeWith(t *testing.T) {
	g, _ := newGroup(t, 250)
	for file, want := range map[string]int64{g.MemoryFile("memory.limit_in_bytes", "memory.max"): 1 << 30, g.TasksFile("pids.max"): 77} {
		if got, err := ReadInt(file); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", file, got, err, want)
		}
	}
	if got, err := g.Weight(); err != nil || got != 250 {
		t.Errorf("the weight is %d, %v, want 250", got, err)
	}
}

func TestEveryWeightIsReadAsItWasSet(t *testing.T) {
	g, _ := newGroup(t, 0)
	if got, err := g.Weight(); err != nil || got != vm.DefaultWeight {
		t.Errorf("without one the weight is %d, %v, want %d", got, err, vm.DefaultWeight)
	}
	for weight := vm.MinWeight; weight <= vm.MaxWeight; weight++ {
		if err := g.SetWeight(weight); err != nil {
			t.Fatal(err)
		}
		if got, err := g.Weight(); err != nil || got != weight {
			t.Fatalf("the weight is %d, %v, want %d", got, err, weight)
		}
	}
}

func TestAGroupKnowsItsProcessesAndGoesWhenTheyHaveEnded(t *testing.T) {
	g, path := newGroup(t, 0)
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	for _, file := range g.ProcsFiles() {
		if err := os.WriteFile(file, []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if pids, err := g.Processes(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("the group has the processes %v, %v, want %d", pids, err, cmd.Process.Pid)
	}
	end()
	files := g.ProcsFiles()
	RemoveAt(path)
	for _, file := range files {
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
}

func TestNoGroupHasNothing(t *testing.T) {
	var g *Group
	if pids, err := g.Processes(); err != nil || pids != nil {
		t.Errorf("processes %v, %v", pids, err)
	}
	if g.OOMKills() != 0 || g.Remove() != nil {
		t.Error("a nil group has something")
	}
}
