package node

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/layout"
)

func TestTheDiskOfAllSandboxesIsPromisedAFewTimesOnly(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		total, want int64
		overcommit  float64
	}{
		{100 * gib, 90 * gib, 1},   // 10 GiB are kept.
		{100 * gib, 900 * gib, 10}, // As by default.
		{10 * gib, 9 * gib, 1},     // A tenth of a small one.
		{0, 0, 10},
	} {
		o := DefaultCapacity
		o.Overcommit.Disk = c.overcommit
		if got := o.budget(c.total).DiskBytes; got != c.want {
			t.Errorf("%d bytes, %v times: %d, want %d", c.total, c.overcommit, got, c.want)
		}
	}
	if DefaultCapacity.Overcommit.Disk != 10 {
		t.Error("the default is not what the table says")
	}
}

func TestANegativeCapacityIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Capacity){
		"sandboxes": func(c *Capacity) { c.Overcommit.Sandboxes = -5 },
		"memory":    func(c *Capacity) { c.Overcommit.Memory = -1 },
		"CPUs":      func(c *Capacity) { c.Overcommit.CPU = math.NaN() },
		"disk":      func(c *Capacity) { c.Overcommit.Disk = math.Inf(-1) },
		"requests":  func(c *Capacity) { c.Pending = -1 },
		"time":      func(c *Capacity) { c.Wait = -time.Second },
	} {
		c := DefaultCapacity
		change(&c)
		cfg := Config{Capacity: c, Dirs: layout.Layout{StateDir: t.TempDir(), CacheDir: t.TempDir(), RunDir: t.TempDir()}}
		if err := cfg.complete(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "must not be negative") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := DefaultCapacity.check(); err != nil {
		t.Error(err)
	}
}

// What cannot be kept warm is refused before anything is opened.
func TestWarmTemplatesThatCannotBeAreRefused(t *testing.T) {
	for want, named := range map[string]map[string]int{
		"at most 1000 warm sandboxes": {"mine": 1001}, "must not be negative, got -1": {"mine": -1}, "a separate target": {"base": 1},
	} {
		cfg := Config{WarmTemplates: named}
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", named, err, want)
		}
	}
}
