package drivers

import (
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// What the registry says of a driver must hold for the driver that it opens, or for
// the reason that it does not open.
func TestEveryDriverIsRegisteredWhole(t *testing.T) {
	all := vm.Drivers()
	if len(all) == 0 {
		t.Fatal("no driver is registered")
	}
	for _, d := range all {
		if d.Check == nil || d.Available == nil {
			t.Errorf("%s: Check or Available is missing", d.Name)
		}
		if d.Name == vm.AutoDriver || d.Name != strings.ToLower(d.Name) || vm.ValidateID(d.Name) != nil {
			t.Errorf("%q is not a name for a driver", d.Name)
		}
		if !slices.IsSorted(d.Capabilities) || len(d.Capabilities) == 0 {
			t.Errorf("%s: capabilities %v", d.Name, d.Capabilities)
		}
	}
}
