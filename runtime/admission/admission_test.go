package admission

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/sandbox"
)

// free is a disk with so many bytes left.
type free int64

func (f free) FreeBytes(string) (int64, error) { return int64(f), nil }

func controller(t *testing.T, change func(*Config)) *Controller {
	cfg := Config{
		Capacity: capacity.Budget{CPUs: 1000, MemoryBytes: 1 << 30, DiskBytes: 1 << 30, Sandboxes: 1, Launches: 1},
		MaxWait:  time.Minute, Life: t.Context(), Log: slog.New(slog.DiscardHandler), OnYield: func(string) {},
	}
	change(&cfg)
	return New(cfg)
}

var one = capacity.Budget{CPUs: 1000, MemoryBytes: 1 << 20, DiskBytes: 1 << 20, Sandboxes: 1, Launches: 1}

func TestARequestWaitsForItsTurnAsLongAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controller(t, func(*Config) {})
		held, err := c.Admit(t.Context(), "a", one)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var full *sandbox.CapacityError
		if _, err := c.Admit(t.Context(), "b", one); !errors.As(err, &full) || full.Resource != "wait" || time.Since(begin) != time.Minute {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if gaveUp, _ := c.Refused(); gaveUp != 1 {
			t.Errorf("%d gave up", gaveUp)
		}
		time.AfterFunc(time.Second, func() { held.Release() })
		if r, err := c.Admit(t.Context(), "b", one); err != nil {
			t.Errorf("after a release: %v", err)
		} else {
			r.Release()
		}
		if got := c.Ledger.Active(); got != (capacity.Budget{}) {
			t.Errorf("reserved at the end: %+v", got)
		}
	})
}

func TestNobodyWaitsWhenTheDaemonCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		c := controller(t, func(cfg *Config) { cfg.Life = life })
		held, err := c.Admit(t.Context(), "a", one)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Release()
		time.AfterFunc(time.Second, end)
		if _, err := c.Admit(t.Context(), "b", one); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatCanNeverFitIsRefusedAtOnce(t *testing.T) {
	c := controller(t, func(*Config) {})
	big := one
	big.MemoryBytes = 2 << 30
	var never *sandbox.CapacityError
	if _, err := c.Admit(t.Context(), "a", big); !errors.As(err, &never) || never.Resource != "memory" || never.RetryAfter != 0 {
		t.Errorf("got %v", err)
	}
}

func TestTheFloorsOfTheDisk(t *testing.T) {
	floors := disk.Floors{Restore: 10, Save: 20, Build: 30, WarmPool: 40}
	for _, tt := range []struct {
		name  string
		floor int64
		check func(*Controller) error
	}{
		{"restore", floors.Restore, (*Controller).CheckMachine},
		{"save", floors.Save, (*Controller).CheckSnapshot},
		{"build", floors.Build, (*Controller).CheckBuild},
		{"warm pool", floors.WarmPool, (*Controller).CheckPool},
	} {
		at := controller(t, func(cfg *Config) { cfg.Disk, cfg.Floors = free(tt.floor), floors })
		if err := tt.check(at); err != nil {
			t.Errorf("%s at its floor: %v", tt.name, err)
		}
		below := controller(t, func(cfg *Config) { cfg.Disk, cfg.Floors = free(tt.floor-1), floors })
		if err := tt.check(below); !errors.Is(err, sandbox.ErrDiskFull) {
			t.Errorf("%s below its floor: %v", tt.name, err)
		}
	}
}
