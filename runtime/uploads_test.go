package runtime

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A start removes what an upload of an earlier process left, and what no build needed for a week.
func TestAStartSweepsUploads(t *testing.T) {
	w := newWorkshop(t)
	dir := filepath.Join(w.cfg.Uploads, "t1")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"upload-1": 0, "a.1": 8 * 24 * time.Hour, "b.2": time.Hour} {
		path, at := filepath.Join(dir, name), time.Now().Add(-age)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	w.restart()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "b.2" {
		t.Errorf("left are %v, %v", left, err)
	}
}
