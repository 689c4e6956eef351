package end

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestEachReportsWhatIsLeftOfOurs(t *testing.T) {
	lost := errors.New("it hangs")
	ends := map[string]error{"gone": sandbox.ErrNotFound, "unwritten": fmt.Errorf("%w: disk", ErrUnwritten), "fine": nil, "hangs": lost}
	set := live.NewSet()
	for id := range ends {
		set.Know(live.New(store.Sandbox{ID: id}), nil)
	}
	elsewhere := live.New(store.Sandbox{ID: "elsewhere"})
	elsewhere.Elsewhere = errors.New("another node")
	set.Know(elsewhere, nil)
	e := &Ender{cfg: Config{Live: set}}
	err := e.Each(t.Context(), func(sb *live.Sandbox) error {
		if err, ours := ends[sb.ID]; ours {
			return err
		}
		t.Errorf("%s was ended", sb.ID)
		return nil
	})
	if !errors.Is(err, lost) || errors.Is(err, sandbox.ErrNotFound) || errors.Is(err, ErrUnwritten) {
		t.Errorf("error %v", err)
	}
	if err := set.Add(live.New(store.Sandbox{ID: "late"}), nil); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("a create afterwards: %v", err)
	}
}
