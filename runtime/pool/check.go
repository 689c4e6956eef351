package pool

import (
	"fmt"
	"maps"
	"slices"

	"github.com/rundlet/rundlet/sandbox"
)

// Check checks what shall be kept of the base, which has a name, and of templates that clients build, on a machine that runs so many
// sandboxes. The base may have a target that does not fit: it is a default, and what does not fit is not made.
func Check(base Target, baseName string, named map[string]int, sandboxes int) error {
	for _, field := range []struct {
		what  string
		value int64
	}{
		{"warm sandboxes", int64(base.Ready)}, {"prepared sandboxes", int64(base.Prepared)}, {"the age of warm sandboxes", base.MaxAge.Nanoseconds()},
	} {
		if field.value < 0 {
			return fmt.Errorf("warm pool: %s must not be negative, got %d", field.what, field.value)
		}
	}
	left := sandboxes
	for _, name := range slices.Sorted(maps.Keys(named)) {
		switch ready := named[name]; {
		case !sandbox.ValidTemplateName(name):
			return fmt.Errorf("warm pool: %.128q must be the name of a template, without a tag", name)
		case name == baseName:
			return fmt.Errorf("warm pool: the template %q has a separate target", name)
		case ready < 0:
			return fmt.Errorf("warm pool: the number of warm sandboxes of template %s must not be negative, got %d", name, ready)
		case ready > left:
			return fmt.Errorf("warm pool: all templates together must have at most %d warm sandboxes, as many as run on this machine; template %s has %d, and %d are left",
				sandboxes, name, ready, left)
		default:
			left -= ready
		}
	}
	return nil
}
