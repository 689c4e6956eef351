package gvisor

import (
	"context"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// The caller that divides the processors does not know that a machine of the same key is being
// destroyed: that its group is gone is not a failure.
func TestAMachineThatIsBeingDestroyedHasNoWeightToChange(t *testing.T) {
	var d *Driver
	asked := false
	var err error
	d = newDriver(t, func(c *Config) {
		c.Failpoint = func(step, id string) {
			if step == stepDestroyCgroup {
				asked, err = true, d.SetWeight(context.Background(), id, vm.MinWeight)
			}
		}
	})
	if !d.limits {
		t.Skip("this host has no control groups")
	}
	spec := guestSpec(t)
	spec.VCPUs = 1
	booted(t, d, "a", spec)
	if err := d.Destroy(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if !asked || err != nil {
		t.Errorf("asked: %v, and SetWeight returned %v", asked, err)
	}
}
