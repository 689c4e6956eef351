package e2e

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// stock is what exists in the namespaces: the server must add nothing that
// outlives it.
type stock struct {
	processes, mounts, links map[string]bool
}

func takeStock(t *testing.T) stock {
	t.Helper()
	return stock{processes: processes(t), mounts: mounts(t), links: links(t)}
}

func (before stock) compare(t *testing.T) {
	t.Helper()
	for _, what := range before.added(t) {
		t.Errorf("the server left a %s", what)
	}
}

// added lists what was not there before.
func (before stock) added(t *testing.T) (list []string) {
	t.Helper()
	after := takeStock(t)
	add := func(kind string, before, after map[string]bool) {
		for what := range after {
			if !before[what] {
				list = append(list, kind+": "+what)
			}
		}
	}
	add("process", before.processes, after.processes)
	add("mount", before.mounts, after.mounts)
	add("network link", before.links, after.links)
	return list
}

// processes lists what lives in the PID namespace, without zombies that init is
// about to bury.
func processes(t *testing.T) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // It ended in between.
		}
		_, state, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(state, "Z") {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		found[e.Name()+" "+strings.ReplaceAll(string(cmdline), "\x00", " ")] = true
	}
	return found
}

// mounts includes namespaces that are kept alive by a bind mount.
func mounts(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		found[strings.TrimSpace(line)] = true
	}
	return found
}

func links(t *testing.T) map[string]bool {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, l := range list {
		found[l.Name] = true
	}
	return found
}

// checkSandboxesGone looks for the id of every sandbox that the suites created
// in the names of cgroups, mounts and the server's files. The server still
// runs: a killed sandbox leaves nothing, not only a stopped server.
func checkSandboxesGone(t *testing.T, dir, idFile string) {
	t.Helper()
	data, err := os.ReadFile(idFile)
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(data))
	if len(ids) == 0 && os.Getenv(caseEnv) == "" {
		t.Errorf("the suites recorded no sandbox, so this check is void")
	}
	t.Logf("%d sandboxes were created", len(ids))
	for _, root := range []string{"/sys/fs/cgroup", filepath.Join(dir, "state"), filepath.Join(dir, "cache"), "/run"} {
		for _, left := range pathsNaming(root, ids) {
			t.Errorf("a killed sandbox left %s", left)
		}
	}
	for mount := range mounts(t) {
		if id := firstIn(mount, ids); id != "" {
			t.Errorf("killed sandbox %s left a mount: %s", id, mount)
		}
	}
	for process := range processes(t) {
		if id := firstIn(process, ids); id != "" {
			t.Errorf("killed sandbox %s left a process: %s", id, process)
		}
	}
}

func pathsNaming(root string, ids []string) []string {
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // It went away in between.
		}
		if firstIn(d.Name(), ids) == "" {
			return nil
		}
		found = append(found, path)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		found = append(found, fmt.Sprintf("(walk %s: %v)", root, err))
	}
	return found
}

func firstIn(s string, ids []string) string {
	for _, id := range ids {
		if strings.Contains(s, id) {
			return id
		}
	}
	return ""
}
