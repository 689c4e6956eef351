package vmtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

var addresses atomic.Int64

// address is a network that no other machine of the tests has.
func address() vm.Spec {
	n := addresses.Add(1)
	return vm.Spec{NetNS: fmt.Sprint("/netns/", n), GuestIP: fmt.Sprintf("10.0.%d.%d", n>>8&255, n&255)}
}

// rootsOf are the root directories of the cases.
type rootsOf struct{ dirs sync.Map }

var roots rootsOf

// of returns the root directory of a case, with one file.
func (r *rootsOf) of(t *testing.T) string {
	if dir, ok := r.dirs.Load(t); ok {
		return dir.(string)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the image"), 0o600); err != nil {
		t.Error(err)
	}
	r.dirs.Store(t, dir)
	t.Cleanup(func() { r.dirs.Delete(t) })
	return dir
}

// interfaces shows that an in-memory machine knows its network devices.
func interfaces(t *testing.T, d vm.Runtime) {
	want := vm.NetworkInterface{ID: "eth0", HostDevice: "tap0", GuestMAC: "02:00:00:00:00:01"}
	s := vm.Spec{Interfaces: []vm.NetworkInterface{want}}
	if err := d.Create(t.Context(), "a", s); err != nil {
		t.Fatal(err)
	}
	if got := driver(d).Guest("a").Spec().Interfaces; len(got) != 1 || got[0] != want {
		t.Errorf("interfaces are %+v", got)
	}
}

const removed = "\x00removed"

// inMemory is what vmtest.Look would find in an in-memory machine, if that ran
// programs: it has what its Spec says, and the files of the host below what was
// written.
type inMemory struct {
	*memvm.Guest
	spec vm.Spec
}

func look(g *memvm.Guest, question []string) string {
	if g == nil {
		return "error: there is no such machine"
	}
	in := inMemory{g, g.Spec()}
	args := append(question[1:len(question):len(question)], "", "")
	switch question[0] {
	case "hostname":
		return in.spec.Hostname
	case "memory":
		return strconv.Itoa(in.spec.MemoryMiB << 20)
	case "processors":
		return strconv.Itoa(in.spec.VCPUs)
	case "args":
		return strings.Join(in.spec.Args, " ")
	case "cwd":
		return in.spec.Cwd
	case "env":
		for _, pair := range in.spec.Env {
			if value, ok := strings.CutPrefix(pair, args[0]+"="); ok {
				return value
			}
		}
		return ""
	case "addresses":
		return "127.0.0.1 " + in.spec.GuestIP
	case "read":
		content, _ := in.read(args[0])
		return content
	case "write", "change", "remove":
		return in.modify(question[0], args[0], args[1])
	case "processes":
		if n, _ := strconv.Atoi(args[0]); in.spec.MaxProcesses > 0 && n > in.spec.MaxProcesses {
			return vmtest.TooMany
		}
		return vmtest.Done
	case "eat":
		if in.spec.MemoryMiB > 0 {
			g.Exit("oom")
		}
		return vmtest.Done
	case "spin":
		return vmtest.Done
	}
	return "error: unknown question"
}

// mount is the one that a path is in; the root if it is in none.
func (g inMemory) mount(path string) (m vm.Mount, rest string) {
	for _, m := range g.spec.Mounts {
		if rest, ok := strings.CutPrefix(path, m.Target+"/"); ok {
			return m, rest
		}
	}
	return vm.Mount{Source: g.spec.Rootfs, Target: "/", Overlay: !g.spec.RootfsReadOnly}, path
}

func (g inMemory) read(path string) (string, bool) {
	if content, ok := g.Files()[path]; ok {
		return content, content != removed
	}
	m, rest := g.mount(path)
	data, err := os.ReadFile(filepath.Join(m.Source, rest))
	return string(data), err == nil
}

// size is what a file counts: it holds as many MiB as its content says.
func size(content string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(content, " MiB"))
	return n
}

func (g inMemory) modify(what, path, mib string) string {
	content, exists := g.read(path)
	if m, _ := g.mount(path); !m.Overlay {
		return vmtest.ReadOnly
	}
	switch {
	case what == "write":
		n, _ := strconv.Atoi(mib)
		used := 0
		for _, content := range g.Files() {
			used += size(content)
		}
		if g.spec.DiskMiB > 0 && used+n > g.spec.DiskMiB {
			g.SetFile(path, fmt.Sprint(g.spec.DiskMiB-used, " MiB"))
			return vmtest.Full
		}
		g.SetFile(path, fmt.Sprint(n, " MiB"))
	case !exists:
		return "error: file does not exist"
	case what == "change":
		g.SetFile(path, "#"+content[1:])
	default:
		g.SetFile(path, removed)
	}
	return vmtest.Done
}
