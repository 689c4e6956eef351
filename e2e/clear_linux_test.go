package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/layout"
)

// runDir is where servers and commands have a directory for each instance. It is of
// these namespaces alone: whatever is in it was made by a test.
const runDir = "/run/rundlet"

// clearTimeout bounds the end of processes that were killed.
const clearTimeout = 30 * time.Second

// clearAfter clears away, when the test is over, what a server with this directory
// left: a test that fails half-way stops no server, and a killed server cleans up
// nothing.
func clearAfter(t *testing.T, dir string) {
	t.Helper()
	t.Cleanup(func() {
		if err := clearAway(layout.Layout{StateDir: filepath.Join(dir, "state")}.Instance()); err != nil {
			t.Error(err)
		}
	})
}

// clearAll clears away what is left of every instance.
func clearAll() (errs error) {
	for _, path := range glob(runDir + "/*") {
		errs = errors.Join(errs, clearAway(filepath.Base(path)))
	}
	return errs
}

// clearAway ends the processes of an instance, its server too, and removes its mounts,
// links, packet filter, records and control groups. The end of the namespaces would
// take along all but the last, and only when all tests are through.
func clearAway(instance string) error {
	run := filepath.Join(runDir, instance)
	if err := clearGroups(instance); err != nil {
		return err
	}
	errs := errors.Join(unmountBelow(run), removeLinks(instance), removeFilter(instance), os.RemoveAll(run))
	if errs != nil {
		return fmt.Errorf("clear away %s: %w", instance, errs)
	}
	return nil
}

// clearGroups ends the processes of an instance and removes its control groups.
func clearGroups(instance string) error {
	run := filepath.Join(runDir, instance)
	deadline := time.After(clearTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		groups := groupsOf(instance)
		pids := processesOf(run, groups)
		for pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("clear away %s: end process %d: %w", instance, pid, err)
			}
		}
		var errs error
		for _, path := range groups {
			if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = errors.Join(errs, fmt.Errorf("remove control group %s: %w", path, err))
			}
		}
		if len(pids) == 0 && errs == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("clear away %s: processes %v are left, %w", instance, pids, errs)
		}
	}
}

// groupsOf lists the control groups of an instance, in one hierarchy or in one of each
// controller: what is in a group comes before it.
func groupsOf(instance string) (groups []string) {
	for _, depth := range []string{"", "*"} {
		// The drivers of virtual machines have their name at the end.
		for _, root := range append(glob(filepath.Join("/sys/fs/cgroup", depth, "rundlet-"+instance)), glob(filepath.Join("/sys/fs/cgroup", depth, "rundlet-"+instance+"-*"))...) {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					groups = append(groups, path)
				}
				return nil // What cannot be read has gone.
			})
		}
	}
	slices.Reverse(groups)
	return groups
}

// processesOf finds the processes that are in one of the control groups, or have a
// path below run among their arguments or a file there open, as a daemon has its lock.
// Zombies are left to init.
func processesOf(run string, groups []string) map[int]string {
	inGroup := map[string]bool{}
	for _, path := range groups {
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs")) // Gone, if it cannot be read.
		for pid := range strings.FieldsSeq(string(data)) {
			inGroup[pid] = true
		}
	}
	found := map[int]string{}
	for _, path := range glob("/proc/[0-9]*") {
		name := filepath.Base(path)
		cmdline, _ := os.ReadFile(filepath.Join(path, "cmdline"))
		if !inGroup[name] && !strings.Contains(string(cmdline), run+"/") && !slices.ContainsFunc(glob(path+"/fd/*"), func(fd string) bool {
			target, _ := os.Readlink(fd)
			return strings.HasPrefix(target, run+"/")
		}) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(path, "stat"))
		_, state, _ := strings.Cut(string(stat), ") ")
		if err != nil || strings.HasPrefix(state, "Z") {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil && pid > 1 && pid != os.Getpid() {
			found[pid] = strings.ReplaceAll(string(cmdline), "\x00", " ")
		}
	}
	return found
}

func unmountBelow(dir string) (errs error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := slices.Collect(strings.Lines(string(data)))
	slices.Reverse(lines) // What is mounted in another comes after it.
	for _, line := range lines {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
				errs = errors.Join(errs, fmt.Errorf("unmount %s: %w", fields[4], err))
			}
		}
	}
	return errs
}

func removeLinks(instance string) error {
	links, err := netlink.LinkList()
	for _, l := range links {
		if !strings.HasPrefix(l.Attrs().Name, instance) {
			continue
		}
		var gone netlink.LinkNotFoundError
		// Its other end may have taken it along.
		if del := netlink.LinkDel(l); del != nil && !errors.As(del, &gone) && !errors.Is(del, unix.ENODEV) {
			err = errors.Join(err, fmt.Errorf("delete link %s: %w", l.Attrs().Name, del))
		}
	}
	return err
}

func removeFilter(instance string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := conn.ListTables()
	if err != nil {
		return err
	}
	for _, table := range tables {
		if table.Name == "rundlet_"+instance {
			conn.DelTable(table)
		}
	}
	return conn.Flush()
}

// A server that was killed, and a sandbox that does not run on, leave nothing to the
// tests after theirs and nothing to the machine.
func TestWhatAKilledServerLeftEndsWithItsTest(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	before, instance := takeStock(t), ""
	t.Run("killed", func(t *testing.T) {
		srv, api, dir := newServer(t)
		instance = layout.Layout{StateDir: filepath.Join(dir, "state")}.Instance()
		sb := createMany(t, api, 2)[0]
		if err := unix.Kill(sentry(t, sb.ID), unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := srv.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-srv.exited
		inv, err := takeInventory(dir)
		if err != nil || len(inv.running) < 2 || len(inv.mounts) == 0 || inv.uplinks == 0 {
			t.Errorf("the killed server left too little to show anything: %+v, %v", inv, err)
		}
	})
	await(t, func() ([]string, error) { return before.added(t), nil }) // Without control groups, a sandbox's children end after it.
	if left := groupsOf(instance); len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(runDir, instance)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the run directory is left: %v", err)
	}
}
