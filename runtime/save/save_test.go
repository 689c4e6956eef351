package save

import (
	"errors"
	"testing"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// whole is a driver that saves machines with their memory only.
type whole struct{ vm.Runtime }

func (whole) Info() vm.Info { return vm.Info{Driver: "whole"} }

func TestFilesAloneNeedADriverThatSavesThem(t *testing.T) {
	v := &Saver{cfg: Config{Driver: whole{}}}
	if _, err := v.By(claim.KindPause); err != nil {
		t.Errorf("a pause: %v", err)
	}
	if _, err := v.By(claim.KindFilesystemPause); !errors.Is(err, sandbox.ErrUnsupported) {
		t.Errorf("a pause of the files: %v", err)
	}
}

func TestATimeoutPausesAsItWasAskedTo(t *testing.T) {
	for on, want := range map[sandbox.OnTimeout]string{
		sandbox.OnTimeoutPause: claim.KindPause, sandbox.OnTimeoutPauseFilesystem: claim.KindFilesystemPause, "": "",
	} {
		if got := PauseKind(on); got != want {
			t.Errorf("%q: %q, want %q", on, got, want)
		}
	}
}
