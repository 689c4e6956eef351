package e2e

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/layout"
)

// census counts everything on the machine that a sandbox can be made of.
type census map[string]int

// takeCensus counts the processes, mounts, links, control groups and files that
// there are for a server with this directory.
func takeCensus(t *testing.T, dir string) census {
	t.Helper()
	c := census{
		"processes": len(processes(t)),
		"mounts":    len(mounts(t)),
		"links":     len(links(t)),
	}
	ours := ourInstances(dir)
	c["control groups"] = countPaths("/sys/fs/cgroup", func(path string, d fs.DirEntry) bool {
		return d.IsDir() && slices.ContainsFunc(ours, func(instance string) bool {
			return strings.Contains(path+"/", "/rundlet-"+instance+"/") || strings.Contains(path, "/rundlet-"+instance+"-")
		})
	})
	for _, root := range []string{"/run", filepath.Join(dir, "state"), filepath.Join(dir, "cache")} {
		c["files in "+filepath.Base(root)] = countPaths(root, func(path string, _ fs.DirEntry) bool {
			// SQLite makes and removes these as it likes.
			return !strings.HasSuffix(path, ".db-wal") && !strings.HasSuffix(path, ".db-shm")
		})
	}
	return c
}

// seenInstances are those that had a run directory when one looked.
var seenInstances sync.Map

// ourInstances are the server of dir and every server and command that was ever
// seen in this /run: control groups are the machine's, where others have theirs.
func ourInstances(dir string) []string {
	seenInstances.Store(layout.Layout{StateDir: filepath.Join(dir, "state")}.Instance(), true)
	for _, path := range glob("/run/rundlet/*") {
		seenInstances.Store(filepath.Base(path), true)
	}
	var all []string
	seenInstances.Range(func(name, _ any) bool {
		all = append(all, name.(string))
		return true
	})
	return all
}

func countPaths(root string, counts func(string, fs.DirEntry) bool) (n int) {
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && counts(path, d) {
			n++
		}
		return nil
	})
	return n
}

// settle is how long the kernel and the pool of network slots may take to free
// and to refill.
const settle = time.Minute

// exceededBy reports whether there is more of anything. Less is not a leak: a new
// process of the daemon makes some things only when they are needed.
func (before census) exceededBy(after census) bool {
	for kind, n := range after {
		if n > before[kind] {
			return true
		}
	}
	return false
}

// await waits until there is no more of anything than there was, and fails with
// the difference.
func (before census) await(t *testing.T, dir string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(settle)
	for {
		after := takeCensus(t, dir)
		if !before.exceededBy(after) {
			return
		}
		select {
		case <-tick.C:
			continue
		case <-deadline:
		}
		for _, kind := range slices.Sorted(maps.Keys(before)) {
			if after[kind] > before[kind] {
				t.Errorf("%s: %d before, %d after", kind, before[kind], after[kind])
			}
		}
		t.Logf("processes now: %v", slices.Sorted(maps.Keys(processes(t))))
		return
	}
}
