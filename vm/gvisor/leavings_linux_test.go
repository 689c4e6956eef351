package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

func TestFailedCreateLeavesNothing(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	before := leftovers(d)
	spec := guestSpec(t)
	file := filepath.Join(t.TempDir(), "no-namespace")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec.NetNS = file
	err := d.Create(ctx, "a", spec)
	if err == nil {
		t.Fatal("a file was taken for a network namespace")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q", err)
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

func TestAdoptFreesWhatItCannotVerify(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	before := leftovers(d)
	for _, id := range []string{"damaged", "rebooted", "unfinished", "foreign"} {
		if err := d.Create(ctx, id, guestSpec(t)); err != nil {
			t.Fatal(err)
		}
	}
	key := func(id string) string { return mustFind(t, d, id).Key }
	if err := os.WriteFile(d.dirs.Record(key("damaged")), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	change := func(id string, f func(*record)) {
		r, err := readRecord(d.dirs.Record(key(id)))
		if err != nil {
			t.Fatal(err)
		}
		f(&r)
		if err := durable.WriteJSON(d.dirs.Record(r.Key), &r); err != nil {
			t.Fatal(err)
		}
	}
	change("rebooted", func(r *record) { r.BootID = "another" })
	change("unfinished", func(r *record) { r.SandboxPID, r.GoferPID = 0, 0 })
	// As if the number had gone to another process: this one.
	change("foreign", func(r *record) { r.SandboxPID = os.Getpid() })
	groups := []*cgroups.Group{mustFind(t, d, "damaged").group, mustFind(t, d, "rebooted").group}
	damaged := key("damaged")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, d.conf)
	adopted, lost, err := again.Adopt(ctx)
	if err != nil || len(adopted) != 0 || len(lost) != 4 {
		t.Fatalf("adopted %+v, lost %q, %v", adopted, lost, err)
	}
	for id, want := range map[string]string{damaged: "damaged", "rebooted": "restarted", "unfinished": "not complete", "foreign": "ended"} {
		if !strings.Contains(lost[id], want) {
			t.Errorf("%s: %q", id, lost[id])
		}
	}
	for _, g := range groups { // Their paths are not in a record that can be trusted.
		_ = g.Remove()
	}
	if after := leftovers(again); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	if err := errors.Join(d.Create(ctx, "a", guestSpec(t)), d.Start(ctx, "a"), d.Destroy(ctx, "a"), d.Close()); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), d.conf.RunDir) {
		t.Error("a mount is left", err)
	}
	for _, depth := range []string{"", "*"} { // One hierarchy, or one for each controller.
		if parents, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", depth, "rundlet-"+d.conf.Instance)); len(parents) > 0 {
			t.Errorf("control groups are left: %q", parents)
		}
	}
	if err := d.Create(context.Background(), "b", guestSpec(t)); !errors.Is(err, vm.ErrUnavailable) {
		t.Errorf("create on a closed driver: %v", err)
	}
}

func TestFiftyAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	c := client{d}
	if err := errors.Join(c.Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "one")); err != nil {
		t.Fatal(err)
	}
	before := leftovers(d)
	const n = 50
	var specs []vm.Spec
	for range n {
		s := guestSpec(t)
		specs = append(specs, vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, MemoryMiB: 128,
			RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}})
	}
	began := time.Now()
	all(t, n, func(i int) error {
		id := fmt.Sprint("m", i)
		if err := d.Create(ctx, id, specs[i]); err != nil {
			return err
		}
		got, err := c.Read(ctx, id, "k")
		if err == nil && got != "v" {
			err = fmt.Errorf("%s has %q", id, got)
		}
		return err
	})
	t.Logf("%d restored and answering in %v", n, time.Since(began))
	back, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	checkNamespaces(t, back)
	began = time.Now()
	all(t, n, func(i int) error { return d.Destroy(ctx, fmt.Sprint("m", i)) })
	t.Logf("%d destroyed in %v", n, time.Since(began))
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

func all(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestASnapshotThatCannotBeReadIsListedAsDamagedAndCanBeDeleted(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	before := leftovers(d)
	place := func(vmID, name, manifest string) {
		dir := d.dirs.Snapshot(vmID, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if manifest == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, snapshots.ManifestFile), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place("gone", "cut", `{"format": 1, "files": {`)
	place("gone", "empty", "")
	place("gone", ".hidden", "") // No name of a snapshot: not ours.
	all, err := d.Snapshots(ctx)
	if err != nil || len(all) != 2 {
		t.Fatalf("listed %+v, %v", all, err)
	}
	for i, name := range []string{"cut", "empty"} {
		s := all[i]
		if s.VMID != "gone" || s.SnapshotID != name || s.Damaged == "" || len(s.Files) > 0 || time.Since(s.CreatedAt) > time.Minute {
			t.Errorf("listed %+v", s)
		}
		if err := d.DeleteSnapshot(ctx, s.VMID, s.SnapshotID); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(d.dirs.Snapshots(), "gone")); err != nil {
		t.Fatal(err)
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}
