package picture

import "testing"

// The first layer that matches counts, so one of a package that is in another comes before.
func TestALayerComesBeforeTheOneItIsIn(t *testing.T) {
	for _, l := range Layers {
		if got, ok := Of(l.Dir); !ok || got.Dir != l.Dir {
			t.Errorf("%s is in the layer %q", l.Dir, got.Dir)
		}
		if l.Why == "" {
			t.Errorf("%s has no reason", l.Dir)
		}
	}
	if l, ok := Of("misc"); ok {
		t.Errorf("misc is in the layer %q", l.Dir)
	}
}

func TestAllows(t *testing.T) {
	l := Layer{May: []string{"vm", "store"}}
	for target, want := range map[string]bool{"vm": true, "vm/gvisor": false, "store": true, "store/internal/database": true, "storefront": false} {
		if got := l.Allows(target); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
}
