package runtime

import (
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/sandbox"
)

// roomForMachine refuses a restore when the disk is below its floor, before
// anything is made.
func (r *Runtime) roomForMachine() error {
	err := r.room(r.cfg.Floors.Restore)
	if errors.Is(err, sandbox.ErrDiskFull) {
		r.tally.diskFull.Add(1)
	}
	return err
}

// roomForSnapshot refuses a save when the disk is below its floor.
func (r *Runtime) roomForSnapshot() error { return r.room(r.cfg.Floors.Save) }

// roomForPool reports whether the disk is at or above the floor of the warm
// pool, and tells once when that ends.
func (r *Runtime) roomForPool() bool {
	err := r.room(r.cfg.Floors.WarmPool)
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if err != nil && !r.pool.short {
		r.log.Warn("there is no room to refill the warm pool", "error", err)
	}
	r.pool.short = err != nil
	return err == nil
}

// room checks a floor; equality passes.
func (r *Runtime) room(floor int64) error {
	if r.cfg.Disk == nil {
		return nil
	}
	_, err := disk.Guard{Root: r.cfg.DiskRoot, MinimumFree: floor}.Check(r.cfg.Disk)
	var below *disk.BelowError
	switch {
	case errors.As(err, &below):
		return fmt.Errorf("%w: %d MiB are free in %s, and %d MiB must stay free",
			sandbox.ErrDiskFull, below.Available>>20, below.Root, below.Minimum>>20)
	case err != nil:
		return fmt.Errorf("%w: the room on the disk is not known: %w", sandbox.ErrUnavailable, err)
	}
	return nil
}
