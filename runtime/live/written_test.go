package live

import (
	"testing"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestARecordIsOfWhatIsInTheStore(t *testing.T) {
	if got := New(store.Sandbox{State: sandbox.StateCreating}).Written.Last(); got.State != "" {
		t.Errorf("without a row: %+v", got)
	}
	sb := New(store.Sandbox{State: sandbox.StateRunning, Version: 3})
	row := sb.Update(func(row *store.Sandbox) { row.State = sandbox.StatePausing })
	if got := sb.Written.Last(); got.State != sandbox.StateRunning {
		t.Errorf("before it is written: %+v", got)
	}
	sb.Written.Note(row)
	if got := sb.Written.Last(); got.State != sandbox.StatePausing {
		t.Errorf("after: %+v", got)
	}
}
