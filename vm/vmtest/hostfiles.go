package vmtest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

const (
	readOnlyTarget = "/mnt/vmtest-ro"
	overlayTarget  = "/mnt/vmtest-overlay"
)

// hostFiles describes a file, or a directory and all that is in it, by path:
// kind, mode, size and time, and the content too if asked for.
func hostFiles(path string, content bool) map[string]string {
	all := map[string]string{}
	_ = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			all[name] = err.Error()
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			all[name] = err.Error()
			return nil
		}
		text := fmt.Sprint(info.Mode(), info.Size(), info.ModTime().UnixNano())
		if content && info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			text += fmt.Sprintf(" %x %v", sha256.Sum256(data), err)
		}
		all[name] = text
		return nil
	})
	return all
}

// differ lists the paths of which two descriptions differ.
func differ(before, after map[string]string) (paths []string) {
	for path, was := range before {
		if after[path] != was {
			paths = append(paths, path)
		}
	}
	for path := range after {
		if _, was := before[path]; !was {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// source makes a directory for a mount with a file "old" in it.
func (e *env) source(content string) string {
	e.Helper()
	dir := e.TempDir()
	e.ok(os.Chmod(dir, 0o755))
	e.ok(os.WriteFile(filepath.Join(dir, "old"), []byte(content), 0o644))
	return dir
}

// mounted is a machine with a read-only mount and one with a separate layer.
func mounted(s *vm.Spec, readOnly, overlay string) {
	s.Mounts = append(slices.Clone(s.Mounts), vm.Mount{Source: readOnly, Target: readOnlyTarget},
		vm.Mount{Source: overlay, Target: overlayTarget, Overlay: true})
}

var hostFileRules = []rule{
	honours("mounts", func(e *env) {
		readOnly, overlay := e.source("read only"), e.source("overlay")
		e.with("a", func(s *vm.Spec) { mounted(s, readOnly, overlay) })
		e.answers("a", "read only", "read", readOnlyTarget+"/old")
		e.answers("a", "overlay", "read", overlayTarget+"/old")
		for dir, want := range map[string]string{readOnlyTarget: ReadOnly, overlayTarget: Done} {
			e.answers("a", want, "write", dir+"/new", "0")
			e.answers("a", want, "change", dir+"/old")
		}
		e.answers("a", "#verlay", "read", overlayTarget+"/old")
		e.answers("a", ReadOnly, "remove", readOnlyTarget+"/old")
		e.answers("a", Done, "remove", overlayTarget+"/new")
	}, "Mounts"),
	honours("mounts-of-a-restore-have-their-own-sources", func(e *env) {
		e.with("a", func(s *vm.Spec) { mounted(s, e.source("first"), e.source("first")) })
		e.snapshot("a", "one")
		s := e.restoreSpec("a", "one", true)
		mounted(&s, e.source("second"), e.source("second"))
		e.ok(e.d.Create(e.ctx, "b", s))
		for _, dir := range []string{readOnlyTarget, overlayTarget} {
			e.answers("b", "second", "read", dir+"/old")
			e.answers("a", "first", "read", dir+"/old")
		}
		e.answers("b", ReadOnly, "change", readOnlyTarget+"/old")
	}, "Mounts"),
	{name: "honour/mount-points-are-not-made-in-the-image", honours: []string{"Mounts"}, run: func(e *env) {
		s := e.spec()
		before := hostFiles(s.Rootfs, false)
		s.Mounts = append(slices.Clone(s.Mounts), vm.Mount{Source: e.source(""), Target: "/mnt/vmtest-none", Overlay: true})
		// A driver that can see that the target is not there refuses it.
		if err := e.d.Create(e.ctx, "a", s); err != nil {
			e.is(err, vm.ErrInvalid)
			e.unknown("a")
		} else {
			e.ok(e.d.Start(e.ctx, "a"))
		}
		if paths := differ(before, hostFiles(s.Rootfs, false)); len(paths) > 0 {
			e.Errorf("the root file system on the host has changed: %q", paths)
		}
	}},
	{name: "honour/guest-writes-never-reach-the-host", needs: []string{"Look"}, run: func(e *env) {
		spec := e.spec()
		watched := []string{spec.Rootfs}
		writable := []string{"/vmtest-new", e.scratch("new")}
		var changed []string
		if e.h.RootFile != "" {
			changed = append(changed, e.h.RootFile)
		}
		if slices.Contains(e.h.Accepts, "Mounts") {
			readOnly, overlay := e.source("read only"), e.source("overlay")
			mounted(&spec, readOnly, overlay)
			watched = append(watched, readOnly, overlay)
			writable = append(writable, overlayTarget+"/new")
			changed = append(changed, overlayTarget+"/old")
		}
		before := map[string]string{}
		for _, path := range watched {
			maps.Copy(before, hostFiles(path, true))
		}
		unchanged := func(when string) {
			e.Helper()
			after := map[string]string{}
			for _, path := range watched {
				maps.Copy(after, hostFiles(path, true))
			}
			if paths := differ(before, after); len(paths) > 0 {
				e.Errorf("%s, these files of the host have changed: %q", when, paths)
			}
		}
		e.ok(e.d.Create(e.ctx, "a", spec))
		e.ok(e.d.Start(e.ctx, "a"))
		for _, path := range writable {
			e.answers("a", Done, "write", path, "1")
		}
		for _, path := range changed {
			e.answers("a", Done, "change", path)
			// The guest sees what it wrote, so it did write.
			if got := e.look("a", "read", path); !strings.HasPrefix(got, "#") {
				e.Errorf("the guest changed %s and reads %.20q", path, got)
			}
		}
		unchanged("while the guest runs")
		e.snapshot("a", "one")
		for _, path := range changed {
			e.answers("a", Done, "remove", path)
		}
		e.ok(e.d.Destroy(e.ctx, "a"))
		unchanged("after the guest has ended")
		control := e.source("control")
		before = hostFiles(control, true)
		e.ok(os.WriteFile(filepath.Join(control, "old"), []byte("changed"), 0o644))
		if len(differ(before, hostFiles(control, true))) == 0 {
			e.Error("a change of the host's files goes unnoticed")
		}
	}},
}
