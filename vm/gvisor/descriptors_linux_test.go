package gvisor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
)

// TestSandboxesStartWithALargeTableOfDescriptors looks at the size of the table, which
// would be 256 after the first descriptor above 64.
func TestSandboxesStartWithALargeTableOfDescriptors(t *testing.T) {
	d := newDriver(t)
	booted(t, d, "a", guestSpec(t))
	for _, p := range []*process.Process{mustFind(t, d, "a").sandbox, mustFind(t, d, "a").gofer} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(status), "FDSize:")
		var size int
		if _, err := fmt.Sscan(after, &size); err != nil || size <= engine.HighDescriptor {
			t.Errorf("process %d has room for %d descriptors, %v, want more than %d", p.PID, size, err, engine.HighDescriptor)
		}
	}
	if err := freeAll(testContext(t), d); err != nil {
		t.Error(err)
	}
}
