package admission

import (
	"errors"
	"fmt"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/sandbox"
)

// CheckMachine reports an error if the disk is below the floor of restores.
func (c *Controller) CheckMachine() error {
	err := c.check(c.cfg.Floors.Restore)
	if errors.Is(err, sandbox.ErrDiskFull) {
		c.diskFull.Add(1)
	}
	return err
}

// CheckSnapshot reports an error if the disk is below the floor of saves.
func (c *Controller) CheckSnapshot() error { return c.check(c.cfg.Floors.Save) }

// CheckPool reports an error if the disk is below the floor of the warm pool.
func (c *Controller) CheckPool() error { return c.check(c.cfg.Floors.WarmPool) }

// CheckBuild reports an error if the disk is below the floor of template builds.
func (c *Controller) CheckBuild() error { return c.check(c.cfg.Floors.Build) }

// check checks a floor; equality passes.
func (c *Controller) check(floor int64) error {
	if c.cfg.Disk == nil {
		return nil
	}
	_, err := disk.Guard{Root: c.cfg.DiskRoot, MinimumFree: floor}.Check(c.cfg.Disk)
	var below *disk.BelowError
	switch {
	case errors.As(err, &below):
		return fmt.Errorf("%w: %d MiB are free in %s, and %d MiB must stay free",
			sandbox.ErrDiskFull, below.Available>>20, below.Root, below.Minimum>>20)
	case err != nil:
		return fmt.Errorf("%w: free disk space is unknown: %w", sandbox.ErrUnavailable, err)
	}
	return nil
}
