//go:build linux

package space

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/layout"
)

// PullLock is the end of the name of the file that a pull of a template locks, beside the directory with what has come.
const PullLock = ".lock"

// pullsOf are the files of templates that came by pulls which were broken off, or go on.
func pullsOf(dirs layout.Layout, now time.Time) (all []Object, err error) {
	locks, err := filepath.Glob(filepath.Join(dirs.Pulls(), "*"+PullLock))
	for _, lock := range locks {
		info, err := os.Lstat(lock)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		goesOn, err := flock.Held(lock)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		o := Object{Kind: Uploads, Grade: Upload, Paths: []string{strings.TrimSuffix(lock, PullLock), lock}, pull: true}
		switch {
		case goesOn:
			o.Grade = Needed
		case now.Sub(info.ModTime()) > uploadKept:
			o.Grade = Unneeded
		}
		all = append(all, o)
	}
	return all, err
}

// SweepPulls removes what pulls left that were broken off long ago.
func SweepPulls(dirs layout.Layout) error {
	all, err := pullsOf(dirs, time.Now())
	for _, o := range all {
		if o.Grade == Unneeded {
			_, removed := removePull(o)
			err = errors.Join(err, removed)
		}
	}
	return err
}

// removePull removes what a pull left, unless it goes on.
func removePull(o Object) (removed bool, err error) {
	lock, err := flock.Try(o.Paths[1])
	if errors.Is(err, flock.ErrHeld) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	return true, errors.Join(os.RemoveAll(o.Paths[0]), os.Remove(o.Paths[1])) // The next prune tries again.
}
