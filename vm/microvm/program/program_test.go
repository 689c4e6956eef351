package program

import (
	"errors"
	"os"
	"testing"
)

// Both states of a build are right: with the program inside, and a clean clone.
func TestExtract(t *testing.T) {
	path, err := Extract(t.TempDir())
	if Digest() == "" {
		if !errors.Is(err, ErrMissing) {
			t.Fatalf("%q %v", path, err)
		}
		return
	}
	if info, statErr := os.Stat(path); err != nil || statErr != nil || info.Size() < 1<<20 {
		t.Fatal(err, statErr)
	}
}
