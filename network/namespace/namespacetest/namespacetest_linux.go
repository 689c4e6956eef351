package namespacetest

import (
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/network/namespace"
)

// TB is the part of testing.TB that New uses; package testing adds flags to a program.
type TB interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Error(...any)
	Fatal(...any)
	Fatalf(string, ...any)
	Skip(...any)
}

// New makes a network namespace in which setUp has run, if it is not nil. Both the
// namespace and the file, whose name is its path, end with the test, which is skipped
// without root.
func New(t TB, setUp func() error) *os.File {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	if setUp == nil {
		setUp = func() error { return nil }
	}
	path := filepath.Join(t.TempDir(), "netns")
	if err := namespace.Create(path, setUp); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := namespace.Remove(path); err != nil {
			t.Error(err)
		}
	})
	ns, ok, err := namespace.Open(path)
	if err != nil || !ok {
		t.Fatalf("open %s: %v, %v", path, ok, err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}
