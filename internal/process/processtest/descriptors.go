//go:build linux

// Package processtest takes descriptors away from the process of a test. Only tests import it. It imports no package of this module.
package processtest

import (
	"os"

	"golang.org/x/sys/unix"
)

// TB is the part of testing.TB that is used; package testing adds flags to a program.
type TB interface {
	Helper()
	Fatal(args ...any)
}

// WithDescriptors calls do while the process can open so many files and no more, if those that it has open leave no gaps. For all
// goroutines: those of others fail, too.
func WithDescriptors(t TB, n uint64, do func()) {
	t.Helper()
	lowest, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(lowest.Fd())
	lowest.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	set := func(current uint64) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: current, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
	}
	set(next + n)
	defer set(limit.Cur)
	do()
}
