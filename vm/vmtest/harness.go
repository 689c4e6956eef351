package vmtest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// skips returns why a rule cannot be shown with this harness; empty if it can.
func (h Harness) skips(r rule) string {
	for _, name := range r.needs {
		if !h.hooks()[name] {
			return fmt.Sprintf("needs the hook %s: %s", name, h.Missing[name])
		}
	}
	for _, name := range r.honours {
		if !slices.Contains(h.Accepts, name) {
			return "the driver refuses " + name
		}
	}
	return h.Unshown[r.name]
}

// Skipped returns the names of the rules that Run skips, in their order: what
// Harness.Skips must be.
func Skipped(h Harness) []string {
	var names []string
	for _, r := range rules() {
		if h.skips(r) != "" {
			names = append(names, r.name)
		}
	}
	return names
}

// checkHarness checks that the harness hides nothing.
func checkHarness(t *testing.T, h Harness) {
	t.Run("harness/every-missing-hook-has-a-reason", func(t *testing.T) {
		for name, have := range h.hooks() {
			if reason := h.Missing[name]; have == (reason != "") {
				t.Errorf("hook %s: set is %v, reason is %q; exactly one of them is needed", name, have, reason)
			}
		}
		for name := range h.Missing {
			if _, ok := h.hooks()[name]; !ok {
				t.Errorf("Missing names %q, which is not a hook", name)
			}
		}
	})
	t.Run("harness/every-skip-is-listed", func(t *testing.T) {
		skipped := Skipped(h)
		for _, name := range skipped {
			if !slices.Contains(h.Skips, name) {
				t.Errorf("rule %s is skipped, and Harness.Skips does not list it", name)
			}
		}
		for _, name := range h.Skips {
			if !slices.Contains(skipped, name) {
				t.Errorf("Harness.Skips lists %s, which is not skipped", name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(h.Unshown)) {
			if !slices.Contains(Rules(), name) || h.Unshown[name] == "" {
				t.Errorf("Unshown names %q for the reason %q", name, h.Unshown[name])
			}
		}
	})
	t.Run("harness/every-accepted-field-has-a-check", func(t *testing.T) {
		checked := map[string]bool{}
		for _, r := range rules() {
			for _, name := range r.honours {
				checked[name] = true
			}
		}
		for _, name := range h.Accepts {
			if _, own := h.Honoured[name]; checked[name] == own {
				t.Errorf("field %s: a rule is about it: %v, Harness.Honoured has a check: %v; exactly one of them is needed", name, checked[name], own)
			}
		}
	})
}
