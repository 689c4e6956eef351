package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteJSON(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, want := range []string{`{"a":1}`, `{"a":2}`} {
		if err := WriteJSON(path, map[string]int{"a": int(want[5] - '0')}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s, %v", got, err)
		}
	}
	if err := WriteJSON(path, func() {}); err == nil {
		t.Error("a function was written")
	}
	if err := WriteJSON(filepath.Join(dir, "none", "file"), 1); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != `{"a":2}` {
		t.Errorf("after failures: %s, %v", got, err)
	}
	for path, fails := range map[string]bool{path: false, dir: false, filepath.Join(dir, "none"): true} {
		if err := Sync(path); (err != nil) != fails {
			t.Errorf("%s: %v", path, err)
		}
	}
}
