package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func TestASandboxThatEndedForMemoryIsToldSo(t *testing.T) {
	f := newFixture(t)
	for reason, want := range map[string]bool{"oom": true, "exited: 1": false, "killed by request": false} {
		sb := f.create()
		inner, _ := f.rt.find(sb.ID)
		if err := f.rt.terminate(context.Background(), inner, reason); err != nil {
			t.Fatal(err)
		}
		_, err := f.rt.Get(context.Background(), sb.ID)
		var memory *OutOfMemoryError
		if !errors.Is(err, ErrSandboxNotFound) || errors.As(err, &memory) != want {
			t.Errorf("ended as %q: %v", reason, err)
		}
		if want && !strings.Contains(memory.Detail, fmt.Sprintf("%d MiB", sb.MemoryMiB)) {
			t.Errorf("no figure in %q", memory.Detail)
		}
	}
}

func TestOutOfMemoryHasItsFigures(t *testing.T) {
	cause := &vm.Error{Op: "snapshot", ID: "i1", Err: fmt.Errorf("%w: it may take 300 MiB", vm.ErrOutOfMemory)}
	err := classify(fmt.Errorf("pause: %w", cause))
	var memory *OutOfMemoryError
	if !errors.Is(err, ErrOutOfMemory) || !errors.As(err, &memory) || memory.Detail != "out of memory: it may take 300 MiB" {
		t.Errorf("%v", err)
	}
}

func TestOutOfMemoryEndsAreBounded(t *testing.T) {
	var ends outOfMemoryEnds
	for i := range mostEnds + 10 {
		ends.remember(store.Sandbox{ID: fmt.Sprint(i), Reason: reasonOOM, MemoryMiB: 5})
		ends.remember(store.Sandbox{ID: fmt.Sprint(i), Reason: reasonOOM, MemoryMiB: 5})
	}
	if len(ends.mib) != mostEnds || len(ends.keep) != mostEnds {
		t.Errorf("%d and %d are remembered, want %d", len(ends.mib), len(ends.keep), mostEnds)
	}
}
