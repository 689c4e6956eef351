package failpoint

import "testing"

func TestWhatTheEnvironmentNames(t *testing.T) {
	for text, c := range map[string]struct{ none, wrong bool }{
		"": {none: true}, "pause.saved": {}, "pause.saved@3": {}, "x@0": {none: true, wrong: true}, "x@": {none: true, wrong: true}, "x@y": {none: true, wrong: true},
	} {
		t.Setenv(Variable, text)
		die, err := Of()
		if (die == nil) != c.none || (err != nil) != c.wrong {
			t.Errorf("%q: %v, %v", text, die != nil, err)
		}
		if die != nil {
			die("another step") // It returns.
		}
	}
}
