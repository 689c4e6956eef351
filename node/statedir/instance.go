package statedir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/layout"
)

// ephemeralPrefix marks the run directories of ephemeral instances: the next
// process that finds one whose lock is free removes it.
const ephemeralPrefix = "x"

// NewEphemeral returns the name of a new ephemeral instance.
func NewEphemeral() string {
	var b [3]byte
	rand.Read(b[:])
	return ephemeralPrefix + hex.EncodeToString(b[:])
}

// Ephemeral returns the names of the ephemeral instances that have a run directory,
// those of living processes included.
func Ephemeral(dirs layout.Layout) []string {
	names, _ := filepath.Glob(filepath.Join(dirs.RunDir, ephemeralPrefix+"??????"))
	for i, dir := range names {
		names[i] = filepath.Base(dir)
	}
	return names
}

// LockInstance makes the instance's run directory and takes its lock.
func LockInstance(dirs layout.Layout, instance string) (unlock func(), err error) {
	dir := dirs.InstanceDir(instance)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err = LockFile(filepath.Join(dir, "lock"))
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("another rundlet daemon serves %s", dirs.StateDir)
	}
	return unlock, err
}
