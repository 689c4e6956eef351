package gvisor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// release writes this test binary to a driver's directory as the sandbox program of a
// release, which is what another program would be: the same with another digest.
func release(t *testing.T, conf *Config, stamp string) (name string) {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program = append(program, stamp...)
	name = fmt.Sprintf("rundlet-sandbox-%x", sha256.Sum256(program))[:len("rundlet-sandbox-")+16]
	dir := filepath.Join(conf.StateDir, "engines")
	conf.Engine = filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(conf.Engine, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return name
}

// runs compares what the processes of a machine run, by its contents, with an engine. A running
// process has its contents when the file is gone, too.
func runs(t *testing.T, d *Driver, id, want string) {
	t.Helper()
	pids, err := d.Processes(id)
	if err != nil || len(pids) != 2 {
		t.Fatalf("%s has the processes %v, %v", id, pids, err)
	}
	for _, pid := range pids {
		program, err := os.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			t.Fatal(err)
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(program)); "rundlet-sandbox-"+sum[:16] != want {
			t.Errorf("process %d of %s runs a program with the digest %s, want %s", pid, id, sum, want)
		}
	}
}

// keptEngines lists the engines of a driver.
func keptEngines(t *testing.T, d *Driver) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(d.dirs.Engines())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func wantKept(t *testing.T, d *Driver, when string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := keptEngines(t, d); !slices.Equal(got, want) {
		t.Errorf("%s the engines are %q, want %q", when, got, want)
	}
}

// upgrade opens the driver anew, as the release of conf.Engine.
func upgrade(t *testing.T, d *Driver, conf Config) (*Driver, map[string]vm.View) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, conf)
	adopted, lost, err := vmtest.Adopted(testContext(t), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("adopted %v, lost %v", statuses(adopted), lost)
	return d, adopted
}

// otherVersion makes a snapshot one of another version of gVisor.
func otherVersion(t *testing.T, d *Driver, vmID, snapshot string) {
	t.Helper()
	file := filepath.Join(d.dirs.Snapshot(vmID, snapshot), snapshots.ManifestFile)
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(manifest), `"version":"`+d.version+`"`, `"version":"v0.0.0-other"`, 1)
	if other == string(manifest) {
		t.Fatalf("the manifest has no version %s: %s", d.version, manifest)
	}
	if err := os.WriteFile(file, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestASnapshotIsRestoredByTheEngineThatMadeIt upgrades a driver with a running machine and
// with snapshots.
func TestASnapshotIsRestoredByTheEngineThatMadeIt(t *testing.T) {
	var first string
	d := newDriver(t, func(c *Config) { first = release(t, c, "first") })
	ctx := testContext(t)
	spec := guestSpec(t)
	run := func(id string, spec vm.Spec) {
		t.Helper()
		if err := errors.Join(d.Create(ctx, id, spec), d.Start(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	run("a", spec)
	runs(t, d, "a", first)
	guest := client{d}
	if err := errors.Join(guest.Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files")); err != nil {
		t.Fatal(err)
	}

	// Another version of gVisor made it, the manifest says: it has its engine.
	otherVersion(t, d, "a", "memory")
	conf := d.conf
	second := release(t, &conf, "second")
	interrupted := filepath.Join(d.dirs.Engines(), "."+second+"123")
	if err := os.WriteFile(interrupted, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, adopted := upgrade(t, d, conf)
	if adopted["a"].Status != vm.StatusRunning {
		t.Fatalf("adopted %+v", adopted)
	}
	wantKept(t, d, "after the upgrade", first, second)
	runs(t, d, "a", first)
	run("new", guestSpec(t))
	runs(t, d, "new", second)

	// All that comes from the snapshot runs its engine, and so does what is saved of that.
	restore := func(id, vmID, snapshot string, resume bool) error {
		s := guestSpec(t)
		s.RestoreFrom = &vm.SnapshotRef{VMID: vmID, SnapshotID: snapshot, ResumeImmediately: resume}
		err := d.Create(ctx, id, s)
		if err == nil && !resume {
			err = d.Start(ctx, id)
		}
		return err
	}
	if err := errors.Join(restore("resumed", "a", "memory", true), d.Snapshot(ctx, "resumed", "again"), d.Snapshot(ctx, "a", "adopted"),
		restore("fork", "resumed", "again", false), restore("boot", "a", "files", true)); err != nil {
		t.Fatal(err)
	}
	// So does what is saved of its files alone, where the version is another one.
	if err := d.SnapshotFilesystem(ctx, "a", "later"); err != nil {
		t.Fatal(err)
	}
	otherVersion(t, d, "a", "files")
	otherVersion(t, d, "a", "later")
	if err := errors.Join(restore("other", "a", "files", true), restore("after", "a", "later", true)); err != nil {
		t.Errorf("files that another version of gVisor saved: %v", err)
	}
	for id, want := range map[string]string{"resumed": first, "fork": first, "boot": second, "other": first, "after": first} {
		runs(t, d, id, want)
	}
	for _, id := range []string{"a", "resumed", "fork"} {
		if got, err := (client{d}).Read(ctx, id, "k"); got != "v" || err != nil {
			t.Errorf("the memory of %s is %q, %v", id, got, err)
		}
	}
	for _, s := range []struct{ vmID, snapshot, want string }{{"a", "memory", first}, {"resumed", "again", first}, {"a", "adopted", first}, {"a", "files", first}, {"a", "later", first}} {
		if got := d.snapshots.EngineOf(s.vmID, s.snapshot); got != s.want {
			t.Errorf("%s of %s names the engine %q, want %q", s.snapshot, s.vmID, got, s.want)
		}
	}

	// Each of these needs the first engine, the last one too.
	if err := errors.Join(d.Destroy(ctx, "a"), d.Destroy(ctx, "fork"), d.DeleteSnapshot(ctx, "a", "memory"), d.DeleteSnapshot(ctx, "a", "adopted"),
		d.DeleteSnapshot(ctx, "a", "files"), d.DeleteSnapshot(ctx, "a", "later"), d.Destroy(ctx, "other"), d.Destroy(ctx, "after"),
		d.DeleteSnapshot(ctx, "resumed", "again")); err != nil {
		t.Fatal(err)
	}
	wantKept(t, d, "with a machine", first, second)
	if err := errors.Join(d.Snapshot(ctx, "resumed", "last"), d.Destroy(ctx, "resumed")); err != nil {
		t.Fatal(err)
	}
	wantKept(t, d, "with a snapshot", first, second)
	if err := restore("lasting", "resumed", "last", true); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Destroy(ctx, "lasting"), d.Destroy(ctx, "new"), d.Destroy(ctx, "boot"), d.DeleteSnapshot(ctx, "resumed", "last")); err != nil {
		t.Fatal(err)
	}
	wantKept(t, d, "at the end", second)
}

// TestASnapshotThatNamesNoEngineNeedsTheVersion is about those of releases before engines were
// kept.
func TestASnapshotThatNamesNoEngineNeedsTheVersion(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := guestSpec(t)
	if err := errors.Join(d.Create(ctx, "a", spec), d.Start(ctx, "a"), d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory", "files"} {
		if got := d.snapshots.EngineOf("a", name); got != "" { // The test's program has no digest in its name.
			t.Fatalf("%s names the engine %q", name, got)
		}
		if err := errors.Join(restored(t, d, name, spec, name), d.Destroy(ctx, name)); err != nil {
			t.Fatal(err)
		}
		otherVersion(t, d, "a", name)
		if err := restored(t, d, name+"-again", spec, name); !errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("%s of another version: %v", name, err)
		}
	}
	if err := freeAll(ctx, d); err != nil {
		t.Error(err)
	}
}

// TestASnapshotWithoutItsEngineIsRefused loses the engine, and brings it back.
func TestASnapshotWithoutItsEngineIsRefused(t *testing.T) {
	var first string
	d := newDriver(t, func(c *Config) { first = release(t, c, "first") })
	ctx := testContext(t)
	spec := guestSpec(t)
	if err := errors.Join(d.Create(ctx, "a", spec), d.Start(ctx, "a"), d.Snapshot(ctx, "a", "memory")); err != nil {
		t.Fatal(err)
	}
	path := d.engines.kept.Path(first)
	conf := d.conf
	release(t, &conf, "second")
	d, _ = upgrade(t, d, conf)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	err := restored(t, d, "b", spec, "memory")
	var report *vm.Error
	if !errors.As(err, &report) || !errors.Is(err, vm.ErrIncompatible) || !strings.Contains(err.Error(), first) || !strings.Contains(report.Hint, path) {
		t.Errorf("a restore without the engine: %v", err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := restored(t, d, "b", spec, "memory"); !errors.Is(err, vm.ErrIncompatible) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a restore with a damaged engine: %v", err)
	}
	// The machine that still runs it gives it back with what is saved of it.
	if err := d.Snapshot(ctx, "a", "again"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory", "again"} {
		if err := restored(t, d, name, spec, name); err != nil {
			t.Fatal(err)
		}
		runs(t, d, name, first)
		if err := d.Destroy(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if err := d.Destroy(ctx, "a"); err != nil {
		t.Error(err)
	}
}

// TestAnEngineIsNotRemovedOnAGuess has what makes it uncertain that nothing needs one.
func TestAnEngineIsNotRemovedOnAGuess(t *testing.T) {
	var first string
	d := newDriver(t, func(c *Config) { first = release(t, c, "first") })
	conf := d.conf
	second := release(t, &conf, "second")
	d, _ = upgrade(t, d, conf)
	wantKept(t, d, "without anything that needs the first", second)

	third := release(t, &Config{StateDir: conf.StateDir}, "third")
	damaged := d.dirs.Snapshot("x", "damaged")
	if err := errors.Join(os.MkdirAll(damaged, 0o700), os.WriteFile(filepath.Join(damaged, snapshots.ManifestFile), []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := d.engines.remove(); err == nil {
		t.Error("no error with a damaged manifest")
	}
	wantKept(t, d, "with a damaged manifest", second, third)
	if err := os.RemoveAll(filepath.Dir(damaged)); err != nil {
		t.Fatal(err)
	}
	conf.Instance += "-other"
	conf.RunDir += "2"
	other := open(t, conf)
	if err := d.engines.remove(); err == nil {
		t.Error("no error with another driver")
	}
	wantKept(t, d, "with another driver", second, third)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.engines.remove(); err != nil {
		t.Error(err)
	}
	wantKept(t, d, "in the end", second)
	if first == second {
		t.Error("both releases have the same program")
	}
}
