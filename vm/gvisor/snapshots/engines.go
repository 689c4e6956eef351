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
	names := map[string]bool{}
	err := s.eachEngine(func(name string) (more bool) {
		names[name] = true
		return true
	})
	return names, err
}

// NeedEngine reports whether a snapshot needs an engine. It looks for no more than the first.
func (s *Store) NeedEngine(name string) (found bool, err error) {
	err = s.eachEngine(func(other string) (more bool) {
		found = other == name
		return !found
	})
	return found, err
}

func (s *Store) eachEngine(visit func(name string) (more bool)) error {
	tree.Lock() // Move would hide some.
	defer tree.Unlock()
	owners, err := os.ReadDir(s.dirs.Snapshots())
	if err != nil {
		return err
	}
	for _, owner := range owners {
		dir := filepath.Join(s.dirs.Snapshots(), owner.Name())
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			m, err := readManifest(filepath.Join(dir, entry.Name()))
			if err != nil {
				return fmt.Errorf("snapshot %s of %s: %w", entry.Name(), owner.Name(), err)
			}
			if !visit(m.Engine) {
				return nil
			}
		}
	}
	return nil
}
