//go:build linux

package cgroups

import (
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cgroup"
)

// groupDeath bounds the wait for the last threads of a killed sandbox to leave
// its control group; only another try shows that they have.
const groupDeath = 2 * time.Second

// RemoveAt deletes a control group by its path, as far as it exists and is
// empty or becomes so.
func RemoveAt(path string) {
	cg, err := cgroup.NewFromPath(path, false)
	if err != nil {
		return
	}
	dirs := []string{cg.MakePath("")}
	if !onlyV2() {
		dirs = dirs[:0]
		entries, _ := os.ReadDir("/sys/fs/cgroup")
		for _, entry := range entries {
			if dir := cg.MakePath(entry.Name()); strings.HasSuffix(dir, path) {
				dirs = append(dirs, dir)
			}
		}
	}
	deadline := time.Now().Add(groupDeath)
	for _, dir := range dirs {
		for pause := time.Millisecond; ; pause *= 2 {
			err := unix.Rmdir(dir)
			if err != unix.EBUSY || hasGroups(dir) || time.Now().After(deadline) {
				break
			}
			<-time.After(pause)
		}
	}
}

// hasGroups reports whether a control group has others below it, so that
// waiting does not empty it.
func hasGroups(dir string) bool {
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, os.DirEntry.IsDir)
}
