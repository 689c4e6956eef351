package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

const crashEnv = "GVISOR_TEST_CRASH"

// crash is what a child process does until it dies: it prepares the machine "a"
// with the snapshots "memory" and "files", and then op. It kills itself at step.
type crash struct {
	StateDir, RunDir, Instance, Engine string

	Op, Step string
	A, B     vm.Spec
}

// crashOps are the operations, with the steps that each of them passes.
var crashOps = map[string][]string{
	"create": {stepCreateBundle, stepCreateCgroup, stepCreateRecord, stepCreateSandbox, stepCreateRecorded},
	"restore": {stepCreateBundle, stepCreateCgroup, stepCreateRecord, stepCreateSandbox, stepCreateRecorded,
		stepCreateLoading, stepCreateRunning},
	"boot":            {stepCreateSandbox, stepCreateRecorded, stepCreateLoading, stepCreateRunning},
	"prepare":         {stepCreateLinked, stepCreateBundle, stepCreateRecord, stepCreateSandbox, stepCreateRecorded},
	"prepare-boot":    {stepCreateLinked, stepCreateSandbox, stepCreateRecorded},
	"start":           {stepStartBegun, stepStartRunning},
	"start-prepared":  {stepStartBegun, stepStartRunning},
	"start-boot":      {stepStartBegun, stepStartRunning},
	"stop":            {stepStopPaused},
	"snapshot":        {stepSnapshotStaging, stepSnapshotSaved, stepSnapshotSealed, stepSnapshotParent, stepSnapshotCommitted},
	"first-snapshot":  {stepSnapshotParent},
	"snapshot-files":  {stepSnapshotStaging, stepSnapshotSaved, stepSnapshotSealed, stepSnapshotCommitted},
	"delete-snapshot": {stepDeleteMoved},
	"rename":          {stepRenameRecorded, stepRenameMoved},
	"destroy":         {stepDestroyKilled, stepDestroyCgroup, stepDestroyFiles, stepDestroyRemoved},
}

func (c crash) cold() vm.Spec { return c.B }

func (c crash) from(name string, resume bool) vm.Spec {
	s := c.B
	s.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: name, ResumeImmediately: resume}
	return s
}

// do is the operation; prepare comes before the step is armed.
func (c crash) do(ctx context.Context, d *Driver, prepare bool) error {
	prepared := map[string]vm.Spec{"start": c.cold(), "start-prepared": c.from("memory", false), "start-boot": c.from("files", false)}
	if prepare && c.Op == "first-snapshot" {
		return d.Create(ctx, "b", c.from("memory", true))
	}
	if s, starts := prepared[c.Op]; starts {
		if prepare {
			return d.Create(ctx, "b", s)
		}
		return d.Start(ctx, "b")
	}
	if prepare {
		return nil
	}
	switch c.Op {
	case "create":
		return d.Create(ctx, "b", c.cold())
	case "restore", "prepare":
		return d.Create(ctx, "b", c.from("memory", c.Op == "restore"))
	case "boot", "prepare-boot":
		return d.Create(ctx, "b", c.from("files", c.Op == "boot"))
	case "stop":
		return d.Stop(ctx, "a")
	case "snapshot":
		return d.Snapshot(ctx, "a", "new")
	case "first-snapshot":
		return d.Snapshot(ctx, "b", "new")
	case "snapshot-files":
		return d.SnapshotFilesystem(ctx, "a", "new")
	case "delete-snapshot":
		return d.DeleteSnapshot(ctx, "a", "memory")
	case "rename":
		return d.Rename(ctx, "a", "z")
	case "destroy":
		return d.Destroy(ctx, "a")
	}
	return errors.New("unknown operation")
}

// passing is what a process that dies says of each step of its operation.
const passing = "passing "

// TestCrashChild is the process that dies.
func TestCrashChild(t *testing.T) {
	text := os.Getenv(crashEnv)
	if text == "" {
		t.Skip("TestCrashAtEveryStep runs it, in separate processes")
	}
	var c crash
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	armed := false
	d, err := New(Config{StateDir: c.StateDir, RunDir: c.RunDir, Instance: c.Instance, Engine: c.Engine, Failpoint: func(step, _ string) {
		if armed {
			fmt.Println(passing + step)
		}
		if armed && step == c.Step {
			tearStateFiles(c.RunDir)
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	guest := client{d}
	if err := errors.Join(d.Create(ctx, "a", c.A), d.Start(ctx, "a"), guest.Write(ctx, "a", "k", "v"),
		disk{guest}.Write(ctx, "a", "f", "v"), d.Snapshot(ctx, "a", "memory"), d.SnapshotFilesystem(ctx, "a", "files"),
		c.do(ctx, d, true)); err != nil {
		t.Fatal(err)
	}
	armed = true
	t.Fatalf("survived %s of %s: %v", c.Step, c.Op, c.do(ctx, d, false))
}

// tearStateFiles leaves of gVisor's state files what a process leaves that dies
// while it writes them, which it does in place.
func tearStateFiles(runDir string) {
	files, _ := filepath.Glob(filepath.Join(runDir, "runsc", "*.state"))
	for _, file := range files {
		_ = os.Truncate(file, 0)
	}
}

// TestCrashAtEveryStep ends a process at every step of every operation. The
// next one must find everything in order, and be able to free all of it.
func TestCrashAtEveryStep(t *testing.T) {
	needRoot(t)
	reached := map[string]bool{}
	for op, steps := range crashOps {
		for _, step := range steps {
			reached[step] = true
			t.Run(op+"/"+step, func(t *testing.T) { crashAt(t, op, step, guestSpec) })
			if op == "create" || op == "restore" || op == "boot" { // Later steps know no root.
				t.Run(op+"/"+step+"/image", func(t *testing.T) { crashAt(t, op, step, imageSpec) })
			}
		}
	}
	for _, step := range Steps() {
		if !reached[step] {
			t.Errorf("no process died at %s", step)
		}
	}
}

// dying prepares a child process that dies at a step of an operation, on the
// directories of conf.
func dying(t *testing.T, ctx context.Context, conf Config, op, step string, newSpec func(testing.TB) vm.Spec) (crash, *exec.Cmd) {
	t.Helper()
	c := crash{StateDir: conf.StateDir, RunDir: conf.RunDir, Instance: conf.Instance, Engine: conf.Engine, Op: op, Step: step,
		A: newSpec(t), B: newSpec(t)}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestCrashChild$")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), crashEnv+"="+string(text))
	return c, cmd
}

func crashAt(t *testing.T, op, step string, newSpec func(testing.TB) vm.Spec) {
	fresh := newDriver(t)
	before := leftovers(fresh)
	if err := fresh.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	c, cmd := dying(t, ctx, fresh.conf, op, step, newSpec)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process did not die: %v\n%s", err, out)
	}
	d := open(t, fresh.conf)
	adopted, lost, err := vmtest.Adopted(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	got := statuses(adopted)
	t.Logf("adopted %v, lost %v", got, lost)
	checkAfterCrash(t, d, c, got)
	if err := freeAll(ctx, d); err != nil {
		t.Error(err)
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// statuses are those of machines by id.
func statuses(views map[string]vm.View) map[string]vm.Status {
	out := map[string]vm.Status{}
	for id, v := range views {
		out[id] = v.Status
	}
	return out
}

// checkAfterCrash compares what was adopted with what the step left.
func checkAfterCrash(t *testing.T, d *Driver, c crash, got map[string]vm.Status) {
	t.Helper()
	ctx := testContext(t)
	a, want := "a", map[string]vm.Status{"a": vm.StatusRunning}
	snapshots := []string{"a/files", "a/memory"}
	late := slices.Contains([]string{stepCreateRunning, stepStartRunning}, c.Step)
	switch c.Op {
	case "create", "start", "start-prepared", "start-boot", "prepare", "prepare-boot", "restore", "boot":
		switch {
		case late:
			want["b"] = vm.StatusRunning
		case c.Op == "restore" || c.Op == "boot":
		case c.Op == "start" || c.Op == "create" && c.Step == stepCreateRecorded:
			want["b"] = vm.StatusCreated
		case c.Step == stepStartBegun || c.Step == stepCreateRecorded:
			want["b"] = vm.StatusStopped
		}
	case "stop":
		want["a"] = vm.StatusStopped
	case "snapshot", "snapshot-files":
		if c.Step == stepSnapshotCommitted {
			snapshots = []string{"a/files", "a/memory", "a/new"}
		}
	case "first-snapshot":
		want["b"] = vm.StatusRunning
	case "delete-snapshot":
		snapshots = []string{"a/files"}
	case "rename":
		a, want = "z", map[string]vm.Status{"z": vm.StatusRunning}
		snapshots = []string{"z/files", "z/memory"}
	case "destroy":
		want = map[string]vm.Status{}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("adopted %v, want %v", got, want)
	}
	infos, err := d.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.VMID+"/"+i.SnapshotID)
	}
	if !slices.Equal(names, snapshots) {
		t.Errorf("snapshots are %q, want %q", names, snapshots)
	}
	for id, status := range got {
		if status != vm.StatusRunning {
			if err := d.Start(ctx, id); err != nil {
				t.Error(err)
				continue
			}
		}
		memory, errK := client{d}.Read(ctx, id, "k")
		file, errF := disk{client{d}}.Read(ctx, id, "f")
		kept := id == a || c.Op == "first-snapshot" || c.Op == "restore" || c.Op == "prepare" || c.Op == "start-prepared"
		booted := c.Op == "boot" || c.Op == "start-boot" || c.Op == "prepare-boot"
		if errK != nil || errF != nil || (memory == "v") != kept || (file == "v") != (kept || booted) {
			t.Errorf("%s has %q in memory and %q in its file: %v, %v", id, memory, file, errK, errF)
		}
	}
	if c.Op != "rename" && !strings.Contains(c.Op, "snapshot") {
		return // It came nowhere near the snapshots.
	}
	for i, name := range names {
		owner, snapshot, _ := strings.Cut(name, "/")
		s := c.from(snapshot, true)
		s.RestoreFrom.VMID = owner
		s.NetNS, s.GuestIP = guestNet(t)
		id := fmt.Sprint("check", i)
		if err := d.Create(ctx, id, s); err != nil {
			t.Error(err)
			continue
		}
		if file, err := (disk{client{d}}).Read(ctx, id, "f"); file != "v" || err != nil {
			t.Errorf("restored from %s: file %q, %v", name, file, err)
		}
	}
}

func guestNet(t *testing.T) (netns, ip string) {
	s := guestSpec(t)
	return s.NetNS, s.GuestIP
}

// freeAll destroys every machine and deletes every snapshot.
func freeAll(ctx context.Context, d *Driver) error {
	views, err := d.List(ctx)
	for _, v := range views {
		if v.Status != vm.StatusDestroyed {
			err = errors.Join(err, d.Destroy(ctx, v.ID))
		}
	}
	infos, listErr := d.Snapshots(ctx)
	err = errors.Join(err, listErr)
	for _, i := range infos {
		err = errors.Join(err, d.DeleteSnapshot(ctx, i.VMID, i.SnapshotID))
	}
	return err
}
