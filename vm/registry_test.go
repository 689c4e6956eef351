package vm

import (
	"errors"
	"strings"
	"testing"
)

// register gives a test a private registry.
func register(t *testing.T, drivers ...Driver) {
	t.Helper()
	registry.mu.Lock()
	before := registry.list
	registry.list = nil
	registry.mu.Unlock()
	t.Cleanup(func() { registry.list = before })
	for _, d := range drivers {
		Register(d)
	}
}

func open(Options) (Runtime, error) { return nil, nil }

func TestAutoIsTheFirstDriverThatIsAvailable(t *testing.T) {
	missing := errors.New("no such device")
	no := func(Options) error { return missing }
	kernels := func(o Options) error {
		if o.Kernels != "kernels" {
			return missing
		}
		return nil
	}
	for name, c := range map[string]struct {
		drivers []Driver
		ask     string
		want    string // The driver, or a part of the error.
	}{
		"the preferred one":         {[]Driver{{Name: "a", New: open}, {Name: "b", New: open, Preference: 1}}, "auto", "b"},
		"by name among equals":      {[]Driver{{Name: "b", New: open}, {Name: "a", New: open}}, "auto", "a"},
		"the next one":              {[]Driver{{Name: "a", New: open}, {Name: "b", New: open, Preference: 1, Available: no}}, "auto", "a"},
		"none: the preferred one":   {[]Driver{{Name: "a", New: open, Available: no}, {Name: "b", New: open, Preference: 1, Available: no}}, "auto", "b"},
		"none: one that is needed":  {[]Driver{{Name: "a", New: open, Available: no}, {Name: "b", New: open, Preference: 1, Available: no, Optional: true}}, "auto", "a"},
		"one that has a kernel":     {[]Driver{{Name: "a", New: open}, {Name: "b", New: open, Preference: 1, Available: kernels}}, "auto", "b"},
		"one by name, though":       {[]Driver{{Name: "a", New: open}, {Name: "b", New: open, Available: no}}, "b", "b"},
		"one that is not there":     {[]Driver{{Name: "a", New: open}, {Name: "b", New: open}}, "kvm", `driver "kvm" is not in this build; available: auto, a, b`},
		"the empty name":            {[]Driver{{Name: "a", New: open}}, "", `driver "" is not in this build`},
		"a build without drivers":   {nil, "auto", "this build has no sandbox driver"},
		"by name, without drivers ": {nil, "a", "this build has no sandbox driver"},
	} {
		t.Run(name, func(t *testing.T) {
			register(t, c.drivers...)
			d, err := FindDriver(c.ask, "kernels")
			if err != nil && (errors.Is(err, ErrUnsupported) != (len(c.drivers) == 0) || !strings.Contains(err.Error(), c.want)) || err == nil && d.Name != c.want {
				t.Errorf("%q, %v", d.Name, err)
			}
		})
	}
}

func TestADriverIsRegisteredOnceAndWhole(t *testing.T) {
	for name, bad := range map[string]Driver{"twice": {Name: "a", New: open}, "no name": {New: open}, "no New": {Name: "b"}} {
		t.Run(name, func(t *testing.T) {
			register(t, Driver{Name: "a", New: open})
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
				if got := Drivers(); len(got) != 1 || got[0].Name != "a" {
					t.Errorf("%v", got)
				}
			}()
			Register(bad)
		})
	}
}
