package spawn

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/specutils"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
)

// seen is what the kernel says of a process of a sandbox in dir.
func seen(t *testing.T, pid int, dir string) (text []string) {
	t.Helper()
	if pid == 0 {
		return nil
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	read := func(name string) string {
		data, err := os.ReadFile(proc + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	args := strings.Split(strings.TrimRight(read("cmdline"), "\x00"), "\x00")
	command := slices.IndexFunc(args, func(a string) bool { return a == "boot" || a == "gofer" })
	for i := range args { // gVisor gives these two another form.
		if args[i] == "--total-memory" || args[i] == "--total-host-memory" {
			args[i], args[i+1] = args[i]+"="+args[i+1], ""
		}
	}
	args = slices.DeleteFunc(args, func(a string) bool { return a == "" })
	last, console := 2, map[int]bool{} // The console has other files until the process begins.
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		if number, err := strconv.Atoi(value); err == nil && (strings.HasSuffix(name, "-fd") || strings.HasSuffix(name, "-fds")) {
			last = max(last, number)
			console[number] = name == "--stdio-fds"
		}
	}
	slices.Sort(args[1:command]) // gVisor has them in any order.
	slices.Sort(args[command+1 : len(args)-1])
	text = append(text, args...)
	text = append(text, fmt.Sprint("environment ", len(read("environ"))), read("uid_map"), read("gid_map"), read("setgroups"))
	for line := range strings.Lines(read("status")) {
		if name, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"}, name) {
			text = append(text, line)
		}
	}
	stat := read("stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	text = append(text, fmt.Sprint("group and session ", fields[2] == strconv.Itoa(pid), fields[3] == strconv.Itoa(pid)))
	for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		theirs, err := os.Readlink(proc + "ns/" + ns)
		own, errOwn := os.Readlink("/proc/self/ns/" + ns)
		if err := errors.Join(err, errOwn); err != nil {
			t.Fatal(err)
		}
		text = append(text, fmt.Sprint(ns, " is another: ", own != theirs))
	}
	entries, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		link, _ := os.Readlink(proc + "fd/" + entry.Name())
		if number, _ := strconv.Atoi(entry.Name()); number > last || console[number] {
			continue // What it opens itself, or what it closes at once.
		}
		text = append(text, entry.Name()+" "+link)
	}
	for i := range text {
		text[i] = regexp.MustCompile(`\[\d+\]|filestore-\d+`).ReplaceAllString(strings.ReplaceAll(text[i], dir, "DIR"), "[N]")
	}
	return text
}

// same compares what is seen of two processes.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s has more: %s", what, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s lacks: %s", what, line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d facts, want %d", what, len(got), len(want))
	}
}

// TestTheProcessesAreThoseOfGVisor starts those of each kind of sandbox by gVisor's library and by this package.
func TestTheProcessesAreThoseOfGVisor(t *testing.T) {
	needRoot(t)
	root, mount := t.TempDir(), t.TempDir()
	image, err := erofs.Make(t.Context(), erofs.Dir(root), t.TempDir(), erofs.Options{ForGuest: true})
	if err != nil {
		t.Fatal(err)
	}
	directories := vm.Spec{Rootfs: root, Args: []string{"/init"}, DiskMiB: 20, NetNS: "/proc/self/ns/net",
		Mounts: []vm.Mount{{Source: mount, Target: "/ro"}, {Source: mount, Target: "/rw", Overlay: true}, {Source: image.Path, Target: "/image"}}}
	images := vm.Spec{Rootfs: image.Path, Args: []string{"/init"}, DiskMiB: 20, Mounts: []vm.Mount{{Source: image.Path, Target: "/image"}}}
	readOnly := vm.Spec{Rootfs: root, Args: []string{"/init"}, RootfsReadOnly: true}
	for name, c := range map[string]struct {
		spec  vm.Spec
		saved bool
	}{"directories": {directories, false}, "images": {images, false}, "read-only": {readOnly, false},
		"read-only image": {vm.Spec{Rootfs: image.Path, Args: []string{"/init"}, RootfsReadOnly: true}, false},
		"saved files":     {directories, true}, "saved files over an image": {images, true}} {
		t.Run(name, func(t *testing.T) {
			theirDir, ourDir := shortDir(t), shortDir(t)
			theirs, ours := sandboxOf(t, theirDir, c.spec), sandboxOf(t, ourDir, c.spec)
			if c.saved {
				for _, s := range []*Sandbox{&theirs, &ours} {
					s.Filesystem = s.LayerDir
					for _, name := range []string{control.FSManifestFile, control.FSTarFile, control.PagesMetadataFile, control.PagesFile} {
						if err := os.WriteFile(filepath.Join(s.Filesystem, name), nil, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			made := byGVisor(t, theirs)
			p, err := Start(ours)
			if err != nil {
				t.Fatal(err)
			}
			defer p.End()
			same(t, "the sandbox process", seen(t, p.Sandbox.Pid, ourDir), seen(t, made.SandboxPid(), theirDir))
			gofer := 0
			if p.Gofer != nil {
				gofer = p.Gofer.Pid
			}
			want := seen(t, made.GoferPid.Load(), theirDir)
			for i, fact := range want {
				if strings.HasPrefix(fact, "environment ") {
					want[i] = "environment 0" // gVisor passes on that of its caller.
				}
			}
			same(t, "the file server", seen(t, gofer, ourDir), want)
		})
	}
}

// byGVisor starts the processes by gVisor's library, until the test ends.
func byGVisor(t *testing.T, s Sandbox) *container.Container {
	t.Helper()
	was := specutils.ExePath
	specutils.ExePath = s.Program
	t.Cleanup(func() { specutils.ExePath = was })
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	config.RegisterFlags(fs)
	for _, f := range s.Flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
		if err := fs.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := config.NewFromFlags(fs)
	if err != nil {
		t.Fatal(err)
	}
	if got := conf.ToFlags(); !slices.Equal(slices.Sorted(slices.Values(got)), s.Flags) {
		t.Errorf("gVisor passes on the flags %q, and not %q", got, s.Flags)
	}
	spec, err := specutils.ReadSpec(s.Bundle, conf)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.New(conf, container.Args{ID: s.Key, Spec: spec, BundleDir: s.Bundle, FSRestoreImagePath: s.Filesystem})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return c
}
