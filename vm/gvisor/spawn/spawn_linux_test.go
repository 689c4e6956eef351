package spawn

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/pkg/urpc"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// TestMain makes this test binary the processes of a sandbox: they do nothing, and so can be looked at.
func TestMain(m *testing.M) {
	if command, bundle := launch.Command(os.Args); strings.HasPrefix(os.Args[0], launch.ProcessPrefix) && command != "" {
		idle(command, bundle)
	}
	os.Exit(m.Run())
}

// idle is a process of a sandbox. The one that boots says that it takes calls.
func idle(command, bundle string) {
	if _, err := os.Stat(filepath.Join(bundle, "die-"+command)); err == nil {
		os.Exit(3)
	}
	for _, arg := range os.Args {
		if number, ok := strings.CutPrefix(arg, "--start-sync-fd="); ok {
			fd, _ := strconv.Atoi(number)
			_, _ = unix.Write(fd, []byte{0})
		}
		if number, ok := strings.CutPrefix(arg, "--rpc-fd="); ok {
			if _, err := os.Stat(filepath.Join(bundle, "ask")); err == nil {
				fd, _ := strconv.Atoi(number)
				ask(fd, bundle)
			}
		}
	}
	for {
		_ = unix.Pause()
	}
}

// ask has the mount that is named in the bundle opened, and writes what it got.
func ask(fd int, bundle string) {
	name, _ := os.ReadFile(filepath.Join(bundle, "ask"))
	socket, err := unet.NewSocket(fd)
	if err != nil {
		panic(err)
	}
	var got OpenMountResult
	text := ""
	mount := &specs.Mount{Source: string(name)}
	if strings.HasSuffix(mount.Source, "/mapped") {
		mount.UIDMappings = []specs.LinuxIDMapping{{Size: 1}}
	}
	err = urpc.NewClient(socket).Call("goferToHostRPC.OpenMount", &OpenMountArgs{Mount: mount}, &got)
	if err == nil {
		text, _ = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", got.Files[0].Fd()))
	}
	_ = os.WriteFile(filepath.Join(bundle, "answer.tmp"), []byte(fmt.Sprint(text, " ", err)), 0o644)
	_ = os.Rename(filepath.Join(bundle, "answer.tmp"), filepath.Join(bundle, "answer"))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// shortDir is a directory whose path leaves room for the name of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(filepath.Join(dir, "null-netns"), unix.MNT_DETACH) == nil {
		}
		os.RemoveAll(dir)
	})
	return dir
}

// sandboxOf is what the driver would start for a spec, with everything in dir.
func sandboxOf(t *testing.T, dir string, spec vm.Spec) Sandbox {
	t.Helper()
	s := Sandbox{Program: "/proc/self/exe", Key: "box", Bundle: filepath.Join(dir, "bundle"), Socket: filepath.Join(dir, "runsc-box.sock"),
		NetNS: spec.NetNS, NullNetNS: filepath.Join(dir, "null-netns"), Sources: oci.Sources(spec, true), LayerDir: filepath.Join(dir, "layers"), LayerMiB: spec.DiskMiB}
	flags := oci.Flags(spec, s.LayerDir)
	flags["root"] = dir
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		s.Flags = append(s.Flags, "--"+name+"="+flags[name])
	}
	if err := errors.Join(os.MkdirAll(s.Bundle, 0o700), os.MkdirAll(s.LayerDir, 0o700),
		durable.WriteJSON(filepath.Join(s.Bundle, "config.json"), oci.Spec(spec, true))); err != nil {
		t.Fatal(err)
	}
	return s
}

// specOf is a machine whose root is a directory.
func specOf(t *testing.T) vm.Spec { return vm.Spec{Rootfs: t.TempDir(), Args: []string{"/init"}} }

// started starts the processes of a sandbox of directories in dir, which are there until the test ends.
func started(t *testing.T, dir string, change func(*Sandbox)) (Sandbox, *Processes) {
	t.Helper()
	s := sandboxOf(t, dir, specOf(t))
	change(&s)
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.End)
	return s, p
}

// TestNothingIsLeftOfAFailure has each process die, and each file missing.
func TestNothingIsLeftOfAFailure(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	started(t, dir, func(*Sandbox) {}) // What a process opens once, and the null namespace.
	for name, breakIt := range map[string]func(t *testing.T, s *Sandbox){
		"the sandbox process dies": func(t *testing.T, s *Sandbox) { touch(t, s.Bundle, "die-boot") },
		"no spec":                  func(t *testing.T, s *Sandbox) { remove(t, filepath.Join(s.Bundle, "config.json")) },
		"no program":               func(_ *testing.T, s *Sandbox) { s.Program += "-none" },
		"no namespace":             func(_ *testing.T, s *Sandbox) { s.NetNS = s.Bundle + "/none" },
		"another file":             func(_ *testing.T, s *Sandbox) { s.NetNS = os.DevNull },
		"no directory for layers":  func(_ *testing.T, s *Sandbox) { s.LayerDir += "/none" },
		"no saved files":           func(_ *testing.T, s *Sandbox) { s.Filesystem = s.Bundle },
		"no directory for sockets": func(_ *testing.T, s *Sandbox) { s.Socket = s.Bundle + "/none/s" },
		"no image":                 func(_ *testing.T, s *Sandbox) { s.Sources = []oci.Source{{Path: s.Bundle + "/none", Image: true}} },
		"no image beside a directory": func(_ *testing.T, s *Sandbox) {
			s.Sources = append(s.Sources, oci.Source{Path: s.Bundle + "/none", Image: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			sub, err := os.MkdirTemp(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			s := sandboxOf(t, sub, specOf(t))
			s.NullNetNS = filepath.Join(dir, "null-netns")
			breakIt(t, &s)
			before := descriptors(t)
			p, err := Start(s)
			if err == nil {
				p.End()
				t.Fatal("it started")
			}
			// What answers a file server notices its end a moment later.
			after := descriptors(t)
			for end := time.Now().Add(10 * time.Second); !slices.Equal(before, after) && time.Now().Before(end); after = descriptors(t) {
				runtime.Gosched()
			}
			if !slices.Equal(before, after) {
				t.Errorf("descriptors before:\n%q\nafter:\n%q", before, after)
			}
			if pids := children(t, s.Bundle); len(pids) > 0 {
				t.Errorf("processes %v are left: %v", pids, err)
			}
			if _, err := os.Lstat(s.Socket); err == nil {
				t.Error("the socket is left")
			}
			if entries, _ := os.ReadDir(s.LayerDir); len(entries) > 0 {
				t.Errorf("the layers have names: %v", entries)
			}
		})
	}
}

func touch(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// descriptors are those of this process, but for what Go keeps for later.
func descriptors(t *testing.T) (all []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		link, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err == nil && !strings.HasPrefix(link, "anon_inode:[pidfd]") && !strings.HasPrefix(link, "/proc/") {
			all = append(all, link)
		}
	}
	slices.Sort(all)
	return all
}

// children are the processes with a bundle, also dead ones that were not collected.
func children(t *testing.T, bundle string) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if strings.Contains(string(cmdline), bundle) || len(fields) > 1 && fields[0] == "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			pids = append(pids, filepath.Dir(path))
		}
	}
	return pids
}

// TestFileServersShareAnEmptyNamespace starts two, and one where something else is pinned.
func TestFileServersShareAnEmptyNamespace(t *testing.T) {
	needRoot(t)
	dir := shortDir(t)
	namespaceOf := func(p *Processes) string {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.Gofer.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	null := filepath.Join(dir, "null-netns")
	_, one := started(t, filepath.Join(dir, "a"), func(s *Sandbox) { s.NullNetNS = null })
	_, two := started(t, filepath.Join(dir, "b"), func(s *Sandbox) { s.NullNetNS = null })
	if a, b := namespaceOf(one), namespaceOf(two); a != b {
		t.Errorf("they are in %s and %s", a, b)
	}
	if own, err := os.Readlink("/proc/self/ns/net"); err != nil || own == namespaceOf(one) {
		t.Errorf("they are in that of the host, %v", err)
	}
	file := filepath.Join(dir, "file")
	touch(t, dir, "file")
	_, three := started(t, filepath.Join(dir, "c"), func(s *Sandbox) { s.NullNetNS = file })
	t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })
	if namespaceOf(three) == namespaceOf(one) {
		t.Error("a file without a namespace is one")
	}
}

// TestAFileServerHasItsMountsOpened also asks for one with other users, which there is not.
func TestAFileServerHasItsMountsOpened(t *testing.T) {
	needRoot(t)
	source := t.TempDir()
	for name, want := range map[string]string{source: source + " <nil>", source + "/none": "no such file", source + "/mapped": "other users"} {
		s, p := started(t, shortDir(t), func(s *Sandbox) {
			if err := os.WriteFile(filepath.Join(s.Bundle, "ask"), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
		})
		ended := make(chan struct{})
		go func() { _, _ = p.Gofer.Wait(); close(ended) }()
		var answer []byte
		for answer == nil {
			select {
			case <-ended:
				t.Fatal("the file server has ended")
			case <-t.Context().Done():
				t.Fatal("no answer")
			default:
				answer, _ = os.ReadFile(filepath.Join(s.Bundle, "answer"))
			}
		}
		if !strings.Contains(string(answer), want) {
			t.Errorf("%s: %s", name, answer)
		}
	}
}
