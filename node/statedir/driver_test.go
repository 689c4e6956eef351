package statedir

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func init() {
	fail := func(vm.Options) (vm.Runtime, error) { return nil, vm.ErrUnsupported }
	vm.Register(vm.Driver{Name: "preferred", Preference: 1000, New: fail})
	vm.Register(vm.Driver{Name: "other", Preference: 999, New: fail})
}

// A driver is preferred that became available when sandboxes of another one were there.
func TestAStateDirectoryKeepsItsDriver(t *testing.T) {
	for name, c := range map[string]struct {
		has, asked, want string
	}{
		"no database":             {"", "", "preferred"},
		"auto":                    {"", vm.AutoDriver, "preferred"},
		"of the preferred one":    {"preferred", "", "preferred"},
		"of another one":          {"other", "", "other"},
		"of another one, by auto": {"other", vm.AutoDriver, "other"},
		"asked for by name":       {"other", "preferred", "preferred"},
		"of one that is gone":     {"former", "", "preferred"},
	} {
		t.Run(name, func(t *testing.T) {
			l := dirs(t)
			if c.has != "" {
				withSandbox(t, l, c.has)
			}
			if d, err := Driver(t.Context(), l, c.asked); err != nil || d.Name != c.want {
				t.Errorf("%s, %v, want %s", d.Name, err, c.want)
			}
		})
	}
	if _, err := Driver(t.Context(), dirs(t), "nonsense"); err == nil {
		t.Error("there is a driver nonsense")
	}
	l := dirs(t)
	write(t, l.Database(), "damaged")
	if d, err := Driver(t.Context(), l, ""); err != nil || d.Name != "preferred" {
		t.Errorf("with a damaged database: %s, %v", d.Name, err)
	}
}

func withSandbox(t *testing.T, l layout.Layout, driver string) {
	t.Helper()
	db, err := store.Open(t.Context(), l.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	sb := store.Sandbox{ID: "i1", State: sandbox.StatePaused, CreatedAt: now, StartedAt: now, EndAt: now.Add(time.Hour), Node: "n1", Driver: driver}
	if err := db.Sandboxes.Put(t.Context(), &sb); err != nil {
		t.Fatal(err)
	}
}
