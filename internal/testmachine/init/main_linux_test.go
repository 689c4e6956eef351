package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the program does as a first process, the tests of internal/testmachine show.

func TestAFileIsWrittenWithItsDirectoriesAndModeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "file")
	if err := write(path, 0o755, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o755 || info.Size() != 7 {
		t.Errorf("%v, %v", info, err)
	}
	if err := write(path, 0o755, strings.NewReader("again")); !os.IsExist(err) {
		t.Errorf("a second file of that name: %v", err)
	}
}

func TestAModuleThatIsNotThereIsNamed(t *testing.T) {
	if err := load("/nonsense.ko"); err == nil || !strings.Contains(err.Error(), "/nonsense.ko") {
		t.Errorf("the error is %v", err)
	}
}
