//go:build linux

package drivertest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/vm"
)

// withDescriptors runs f while this process can open no more than a number of files.
func withDescriptors(t *testing.T, n int, f func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	var free []*os.File
	for range n {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		free = append(free, file)
	}
	most := uint64(0)
	for _, file := range free {
		most = max(most, uint64(file.Fd())+1)
	}
	for _, file := range free {
		file.Close()
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// GivenUpOnlyIfGone has a machine of which nothing can be found out: it runs on, and is adopted later.
func (k Kind) GivenUpOnlyIfGone(t *testing.T) {
	d := k.NewDriver(t)
	ctx := Context(t)
	if err := d.Create(ctx, "a", Spec(t)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left := k.leftovers(d); !slices.ContainsFunc(left, func(what string) bool { return strings.HasPrefix(what, "process ") }) {
		t.Errorf("of a machine that runs on, these are found: %q", left)
	}
	poor := k.Open(t, d.Options)
	withDescriptors(t, 1, func() {
		if views, lost, err := poor.Adopt(ctx); !errors.Is(err, unix.EMFILE) || len(views)+len(lost) > 0 {
			t.Fatalf("without descriptors: adopted %v, lost %v, error %v", views, lost, err)
		}
	})
	for _, r := range d.Records(t) {
		record := filepath.Join(d.Machines(), r.Key+".json")
		good, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(record, []byte(`{"format": 1000, "id": ["a"]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if views, lost, err := k.Open(t, d.Options).Adopt(ctx); !errors.As(err, new(*format.NewerError)) || len(views)+len(lost) > 0 {
			t.Fatalf("of a newer version: adopted %v, lost %v, error %v", views, lost, err)
		}
		if err := os.WriteFile(record, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last := k.Open(t, d.Options)
	views, lost, err := last.Adopt(ctx)
	if err != nil || len(lost) > 0 || len(views) != 1 || views[0].Status != vm.StatusCreated {
		t.Fatalf("adopted %v, lost %v, error %v", views, lost, err)
	}
	if err := last.Destroy(ctx, "a"); err != nil {
		t.Fatal(err)
	}
}

// CreateWithoutDescriptors has creates that fail at any place, for want of descriptors: they leave no process. Files that could not be deleted for that are deleted by Adopt.
func (k Kind) CreateWithoutDescriptors(t *testing.T) {
	d := k.NewDriver(t)
	ctx := Context(t)
	spec := Spec(t)
	if err := errors.Join(d.Create(ctx, "first", spec), d.Destroy(ctx, "first")); err != nil { // The first files of guests are made once, and not in the loop.
		t.Fatal(err)
	}
	failed, created := 0, false
	for n := 1; !created && n < 100; n++ {
		var err error
		withDescriptors(t, n, func() { err = d.Create(ctx, "a", spec) })
		if created = err == nil; !created {
			failed++
		} else if err := d.Destroy(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		processes, _ := os.ReadDir("/proc")
		for _, entry := range processes {
			pid, err := strconv.Atoi(entry.Name())
			if err == nil && k.belongs(d, pid) {
				t.Fatalf("%d descriptors: process %d is left", n, pid)
			}
		}
		if err := d.Forget(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if !created || failed < 5 {
		t.Errorf("created: %v, after %d failures", created, failed)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if views, _, err := k.Open(t, d.Options).Adopt(ctx); err != nil || len(views) > 0 {
		t.Errorf("adopted %v, error %v", views, err)
	}
	for _, dir := range []string{d.Machines(), d.Disks()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v, %v are left in %s", err, left, dir)
		}
	}
}
