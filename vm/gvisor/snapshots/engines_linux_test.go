package snapshots

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"gvisor.dev/gvisor/pkg/cpuid"

	"github.com/rundlet/rundlet/internal/durable"
)

const engineName = "rundlet-sandbox-0123456789abcdef"

func TestAnEngineCountsInsteadOfTheVersion(t *testing.T) {
	cpuid.Initialize()
	dir := t.TempDir()
	m := goodManifest(t, dir)
	m.Engine, m.Version = engineName, "v0"
	if err := m.compatible(dir, "gvisor", "v1"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		engine           string
		filesystem, good bool
	}{{"", false, true}, {engineName, false, true}, {engineName, true, true}, {"../" + engineName, false, false}, {engineName + " (deleted)", false, false}, {"sh", false, false}} {
		m.Engine, m.Filesystem = c.engine, c.filesystem
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(data); (err == nil) != c.good {
			t.Errorf("engine %q, of a file system %v: %v", c.engine, c.filesystem, err)
		}
	}
}

func TestEnginesOfAllSnapshots(t *testing.T) {
	s := opened(t)
	for vmID, name := range map[string]string{"a": "", "b": engineName} {
		staging := sealed(t, s)
		m, err := readManifest(staging)
		if err != nil {
			t.Fatal(err)
		}
		m.Engine = name
		if err := durable.WriteJSON(filepath.Join(staging, ManifestFile), m); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(staging, vmID, "one", func() {}); err != nil {
			t.Fatal(err)
		}
		if got := s.EngineOf(vmID, "one"); got != name {
			t.Errorf("engine of %s: %q, want %q", vmID, got, name)
		}
	}
	if got, err := s.Engines(); err != nil || !maps.Equal(got, map[string]bool{"": true, engineName: true}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.Remove(filepath.Join(s.dirs.Snapshot("a", "one"), ManifestFile)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Engines(); err == nil {
		t.Errorf("a snapshot without a manifest needs none of %v", got)
	}
	if got := s.EngineOf("a", "one"); got != "" {
		t.Errorf("%q", got)
	}
}
