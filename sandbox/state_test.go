package sandbox

import "testing"

func TestStates(t *testing.T) {
	for _, tt := range []struct {
		state                              State
		live, transitional, visible, known bool
		shown                              State
	}{
		{StateCreating, true, true, false, true, StateCreating},
		{StateRunning, true, false, true, true, StateRunning},
		{StatePausing, true, true, true, true, StateRunning},
		{StatePaused, false, false, true, true, StatePaused},
		{StateResuming, true, true, true, true, StatePaused},
		{StateKilling, true, true, false, true, StateKilling},
		{StateKilled, false, false, false, true, StateKilled},
		{"archived", true, false, false, false, "archived"},
	} {
		s := tt.state
		if s.Live() != tt.live || s.Transitional() != tt.transitional || s.Visible() != tt.visible || s.Known() != tt.known || s.Shown() != tt.shown {
			t.Errorf("%s: live %v, transitional %v, visible %v, known %v, shown as %s", s, s.Live(), s.Transitional(), s.Visible(), s.Known(), s.Shown())
		}
	}
}
