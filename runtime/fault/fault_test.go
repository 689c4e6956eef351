package fault

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func TestClassify(t *testing.T) {
	other := errors.New("other")
	for name, tt := range map[string]struct{ err, want error }{
		"disk":                {syscall.ENOSPC, sandbox.ErrDiskFull},
		"quota":               {syscall.EDQUOT, sandbox.ErrDiskFull},
		"database":            {store.ErrFull, sandbox.ErrDiskFull},
		"descriptors":         {syscall.EMFILE, sandbox.ErrLacking},
		"memory":              {vm.ErrOutOfMemory, sandbox.ErrOutOfMemory},
		"another host":        {vm.ErrIncompatible, sandbox.ErrNotRestorable},
		"a snapshot is gone":  {vm.ErrNotFound, sandbox.ErrNotRestorable},
		"a changed host file": {&vm.HostChangedError{File: "/usr/lib/x", How: "is gone"}, sandbox.ErrNotRestorable},
		"anything else":       {other, other},
	} {
		err := fmt.Errorf("op: %w", tt.err)
		got := Classify(err)
		if !errors.Is(got, tt.want) || !errors.Is(got, tt.err) {
			t.Errorf("%s: got %v, want a %v that wraps its cause", name, got, tt.want)
		}
	}
	if Classify(nil) != nil {
		t.Error("no error was classified as one")
	}
	var changed *sandbox.HostChangedError
	if !errors.As(Classify(&vm.HostChangedError{File: "/usr/lib/x", How: "is gone"}), &changed) || changed.File != "/usr/lib/x" {
		t.Errorf("the file is not named: %+v", changed)
	}
}

func TestASaveThatMissesItsMachine(t *testing.T) {
	err := ClassifySave("i1", fmt.Errorf("save: %w", vm.ErrNotFound))
	if !errors.Is(err, sandbox.ErrNotFound) || errors.Is(err, sandbox.ErrNotRestorable) {
		t.Errorf("got %v", err)
	}
}
