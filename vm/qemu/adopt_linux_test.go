package qemu

import (
	"errors"
	"os"
	"path/filepath"
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

// A machine of which nothing can be found out runs on, and is adopted later.
func TestAMachineIsGivenUpOnlyIfItIsGone(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	if err := d.Create(ctx, "a", guestSpec(t)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	poor := open(t, d.options)
	withDescriptors(t, 1, func() {
		if views, lost, err := poor.Adopt(ctx); !errors.Is(err, unix.EMFILE) || len(views)+len(lost) > 0 {
			t.Fatalf("without descriptors: adopted %v, lost %v, error %v", views, lost, err)
		}
	})
	for _, r := range d.records(t) {
		record := filepath.Join(d.machines(), r.key+".json")
		good, err := os.ReadFile(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(record, []byte(`{"format": 1000, "id": ["a"]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if views, lost, err := open(t, d.options).Adopt(ctx); !errors.As(err, new(*format.NewerError)) || len(views)+len(lost) > 0 {
			t.Fatalf("of a newer version: adopted %v, lost %v, error %v", views, lost, err)
		}
		if err := os.WriteFile(record, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last := open(t, d.options)
	views, lost, err := last.Adopt(ctx)
	if err != nil || len(lost) > 0 || len(views) != 1 || views[0].Status != vm.StatusCreated {
		t.Fatalf("adopted %v, lost %v, error %v", views, lost, err)
	}
	if err := last.Destroy(ctx, "a"); err != nil {
		t.Fatal(err)
	}
}

// A create that fails at any place, for want of descriptors, leaves no process. Files that could not be deleted for that are deleted by Adopt.
func TestACreateWithoutDescriptorsLeavesNoProcess(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := guestSpec(t)
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
			if err == nil && strings.Contains(argumentsOf(pid), "\x00"+d.machines()) {
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
	if views, _, err := open(t, d.options).Adopt(ctx); err != nil || len(views) > 0 {
		t.Errorf("adopted %v, error %v", views, err)
	}
	for _, dir := range []string{d.machines(), d.disks()} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v, %v are left in %s", err, left, dir)
		}
	}
}
