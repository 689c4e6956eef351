package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/layout"
)

// ephemeralPrefix marks the run directories of "rundlet run": whoever finds one
// whose lock is free clears it away.
const ephemeralPrefix = "x"

func newEphemeral() string {
	var b [3]byte
	rand.Read(b[:])
	return ephemeralPrefix + hex.EncodeToString(b[:])
}

// lockInstance makes the instance's run directory and takes its lock.
func lockInstance(dirs layout.Layout, instance string) (unlock func(), err error) {
	dir := dirs.InstanceDir(instance)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err = lockFile(filepath.Join(dir, "lock"))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("another rundlet daemon serves %s", dirs.StateDir)
	}
	return unlock, err
}

// sweepEphemeral clears away what crashed "rundlet run" processes left. What
// cannot be cleared now is left for the next process.
func sweepEphemeral(ctx context.Context, dirs layout.Layout, opts nodeOptions) {
	left, _ := filepath.Glob(filepath.Join(dirs.RunDir, ephemeralPrefix+"??????"))
	for _, dir := range left {
		instance := filepath.Base(dir)
		unlock, err := lockInstance(dirs, instance)
		if err != nil {
			continue
		}
		n, err := assemble(ctx, dirs, instance, nodeOptions{ephemeral: true, noUplink: true, ahead: -1, log: opts.log, progress: func(string) {}})
		if err == nil {
			err = n.Close(endAll)
		}
		if err != nil {
			opts.log.Warn("could not clear away what a crashed command left", "instance", instance, "error", err)
		} else {
			// While the lock is held: nobody may take it in a directory that goes.
			os.RemoveAll(dir)
		}
		unlock()
	}
}
