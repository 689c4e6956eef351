package live

import (
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/store"
)

func TestOutOfMemoryEndsAreBounded(t *testing.T) {
	var ends Ended
	for i := range MostEnds + 10 {
		ends.Remember(store.Sandbox{ID: fmt.Sprint(i), Reason: ReasonOOM, MemoryMiB: 5})
		ends.Remember(store.Sandbox{ID: fmt.Sprint(i), Reason: ReasonOOM, MemoryMiB: 5})
	}
	if len(ends.mib) != MostEnds || len(ends.keep) != MostEnds {
		t.Errorf("%d and %d are remembered, want %d", len(ends.mib), len(ends.keep), MostEnds)
	}
}
