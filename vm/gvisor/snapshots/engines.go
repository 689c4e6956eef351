//go:build linux

package snapshots

import (
	"fmt"
	"os"
	"path/filepath"
)

// EngineOf returns the engine that made a snapshot, if its manifest says so.
func (s *Store) EngineOf(vmID, snapshot string) string {
	m, err := readManifest(s.dirs.Snapshot(vmID, snapshot))
	if err != nil {
		return ""
	}
	return m.Engine
}

// Engines returns the engines that the snapshots need. It fails if it cannot read the
// manifest of one: then it may need any.
func (s *Store) Engines() (map[string]bool, error) {
	tree.Lock() // Move would hide some.
	defer tree.Unlock()
	owners, err := os.ReadDir(s.dirs.Snapshots())
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, owner := range owners {
		dir := filepath.Join(s.dirs.Snapshots(), owner.Name())
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			m, err := readManifest(filepath.Join(dir, entry.Name()))
			if err != nil {
				return nil, fmt.Errorf("snapshot %s of %s: %w", entry.Name(), owner.Name(), err)
			}
			names[m.Engine] = true
		}
	}
	return names, nil
}
