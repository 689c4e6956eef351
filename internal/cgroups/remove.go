//go:build linux

package cgroups

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// groupDeath bounds the wait for the last threads of a killed sandbox to leave
// its control group; only another try shows that they have.
const groupDeath = 5 * time.Second

// Remove deletes the group, whose processes must have ended.
func (g *Group) Remove() error {
	switch {
	case g == nil:
		return nil
	case onlyV2():
		if err := removeDir(g.Cgroup.MakePath("")); err != nil {
			return fmt.Errorf("remove control group: %w", err)
		}
		return nil
	case g.found != "": // The library removes only what it has made.
		RemoveAt(g.found)
		if left := g.dirs(); len(left) > 0 {
			return fmt.Errorf("remove control group: %s is there still", left[0])
		}
		return nil
	}
	return g.Cgroup.Uninstall()
}

// RemoveAt deletes a control group by its path, as far as it exists and is
// empty or becomes so.
func RemoveAt(path string) {
	cg, err := fromPath(path)
	if err != nil {
		return
	}
	dirs := []string{cg.MakePath("")}
	if !onlyV2() {
		dirs = dirs[:0]
		entries, _ := os.ReadDir(mountPoint)
		for _, entry := range entries {
			if dir := cg.MakePath(entry.Name()); strings.HasSuffix(dir, path) {
				dirs = append(dirs, dir)
			}
		}
	}
	for _, dir := range dirs {
		_ = removeDir(dir)
	}
}

// removeDir waits for the end of the processes in a group, and not of other groups in it.
func removeDir(dir string) error {
	deadline := time.Now().Add(groupDeath)
	for pause := time.Millisecond; ; pause *= 2 {
		err := unix.Rmdir(dir)
		switch {
		case err == nil || err == unix.ENOENT:
			return nil
		case err != unix.EBUSY || hasGroups(dir) || time.Now().After(deadline):
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		<-time.After(pause)
	}
}

// hasGroups reports whether a control group has others below it, so that
// waiting does not empty it.
func hasGroups(dir string) bool {
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, os.DirEntry.IsDir)
}
