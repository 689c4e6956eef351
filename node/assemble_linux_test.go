package node

import (
	"errors"
	"testing"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/limits"
)

func TestTheTasksOfAllSandboxesAreALimitOfTheNode(t *testing.T) {
	broken := errors.New("not all could be read")
	all, err := withTasks(func() ([]host.Limit, error) { return []host.Limit{{What: "files", Used: 1, Max: 10}}, broken },
		func() (int64, int64) { return 95, 100 })()
	if !errors.Is(err, broken) || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	short := limits.Short([]limits.Level{limits.Level(all[0]), limits.Level(all[1])})
	if len(short) != 1 || short[0].What != host.LackProcesses {
		t.Errorf("short of %v", short)
	}
}
