package delegated

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
)

func TestGroupsOfAProcess(t *testing.T) {
	const v1 = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory,release_agent=/x
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
broken
`
	const own = "5:memory:/docker/a/b\n4:cpu,cpuacct:/user/me\n3:freezer:/not/mounted\n1:name=systemd:/s\n0::/user.slice\n"
	got := parse(own, v1)
	want := []Group{
		{"/sys/fs/cgroup/cpu,cpuacct/user/me", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"},
		{"/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory", "cgroup", "memory"},
		{"/sys/fs/cgroup/systemd/s", "/sys/fs/cgroup/systemd", "cgroup", "name=systemd"},
		{"/sys/fs/cgroup/unified/user.slice", "/sys/fs/cgroup/unified", "cgroup2", ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	// A group that is not below what is mounted cannot be reached.
	if got := parse("5:memory:/elsewhere\n", v1); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestADelegatedGroupHasWhatLimitsNeed(t *testing.T) {
	make2 := func(controllers string) []Group {
		dir := t.TempDir()
		for name, text := range map[string]string{"cgroup.controllers": controllers, "cgroup.procs": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return []Group{{dir: dir, kind: "cgroup2"}}
	}
	if err := Check(make2("cpuset cpu io memory pids\n")); err != nil {
		t.Error(err)
	}
	for _, controllers := range []string{"", "cpu pids\n", "memory pids\n", "cpu memory\n"} {
		if err := Check(make2(controllers)); !errors.Is(err, ErrNot) {
			t.Errorf("%q: %v", controllers, err)
		}
	}
	if err := Check(nil); !errors.Is(err, ErrNot) {
		t.Errorf("none: %v", err)
	}
}

// A service that is started again finds its group divided, and has to be started in the one for the node's own processes.
func TestAServiceIsStartedInTheGroupOfItsProcesses(t *testing.T) {
	unit := t.TempDir()
	own := filepath.Join(unit, Below)
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	dirOf := func(kind string) string { return Whole([]Group{{dir: own, kind: kind}})[0].dir }
	if got := dirOf("cgroup2"); got != own {
		t.Errorf("below a group that has no processes file, it is %s", got)
	}
	if err := os.WriteFile(filepath.Join(unit, "cgroup.procs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dirOf("cgroup2"); got != unit {
		t.Errorf("it is %s, not the one above", got)
	}
	if got := dirOf("cgroup"); got != own {
		t.Errorf("of version 1, it is %s", got)
	}
	if err := MoveUp(Whole([]Group{{dir: own, kind: "cgroup2"}})); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(unit, "cgroup.procs")); err != nil || string(text) != strconv.Itoa(os.Getpid()) {
		t.Errorf("the group above has %q, %v", text, err)
	}
}

func TestProcessesOfTheNodeHaveAGroupBelow(t *testing.T) {
	dir := t.TempDir()
	procs := func(dir string) string {
		text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		return string(text)
	}
	below := filepath.Join(dir, Below)
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, below} {
		if err := os.WriteFile(filepath.Join(d, "cgroup.procs"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Enter([]Group{{dir: dir, kind: "cgroup2"}}, 42); err != nil || procs(below) != "42" || procs(dir) != "" {
		t.Errorf("%v: %q below %q", err, procs(below), procs(dir))
	}
	// One that is in it already makes none below that.
	if err := Enter([]Group{{dir: below, kind: "cgroup2"}}, 43); err != nil || procs(below) != "43" {
		t.Errorf("%v: %q", err, procs(below))
	}
	// Version 1 has processes in a group that is divided.
	if err := Enter([]Group{{dir: dir, kind: "cgroup", options: "memory"}}, 44); err != nil || procs(dir) != "44" {
		t.Errorf("%v: %q", err, procs(dir))
	}
}
