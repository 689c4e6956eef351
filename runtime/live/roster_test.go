package live

import (
	"errors"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestWhatIsOfAnotherNodeIsNotStuck(t *testing.T) {
	now := time.Now()
	s := NewSet()
	for id, elsewhere := range map[string]error{"ours": nil, "theirs": errors.New("it is on another node")} {
		sb := New(store.Sandbox{ID: id, State: sandbox.StatePausing, Deadline: now.Add(-time.Hour)})
		sb.Elsewhere = elsewhere
		s.Know(sb, nil)
	}
	if states, stuck := s.Roster.Figures(now); states[sandbox.StatePausing] != 2 || stuck != 1 {
		t.Errorf("%v, %d stuck", states, stuck)
	}
}
