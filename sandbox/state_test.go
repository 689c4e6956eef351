package sandbox

import "testing"

func TestStates(t *testing.T) {
	for _, tt := range []struct {
		state                        State
		transitional, visible, known bool
		shown                        State
	}{
		{StateCreating, true, false, true, StateCreating},
		{StateRunning, false, true, true, StateRunning},
		{StatePausing, true, true, true, StateRunning},
		{StatePaused, false, true, true, StatePaused},
		{StateResuming, true, true, true, StatePaused},
		{StateKilling, true, false, true, StateKilling},
		{StateKilled, false, false, true, StateKilled},
		{"archived", false, false, false, "archived"},
	} {
		s := tt.state
		if s.Transitional() != tt.transitional || s.Visible() != tt.visible || s.Known() != tt.known || s.Shown() != tt.shown {
			t.Errorf("%s: transitional %v, visible %v, known %v, shown as %s", s, s.Transitional(), s.Visible(), s.Known(), s.Shown())
		}
	}
}
