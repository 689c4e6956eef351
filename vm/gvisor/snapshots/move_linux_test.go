package snapshots

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gvisor.dev/gvisor/pkg/cpuid"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// sound is the description of a snapshot that this host can restore.
func sound() Manifest {
	spec := vm.Spec{Args: []string{"/agent"}, Cwd: "/", NetNS: "/run/netns/x", DiskMiB: 512, VCPUs: 2}
	return Manifest{Format: Format, Driver: "gvisor", Version: "v0", Engine: "rundlet-sandbox-" + strings.Repeat("0", 16), Arch: runtime.GOARCH, Kernel: "4.4.0",
		Flags: oci.Flags(spec, ""), CPUFeatures: hostFeatures()[:1], Spec: spec, CreatedAt: time.Now(), Files: map[string]int64{"pages.img": 1},
		Images: map[string]string{"/": "x"}, SavedRoot: "/var/lib/x.erofs"}
}

// A description may come from anybody: nothing of it names a file of this host afterwards.
func TestHostileDescriptions(t *testing.T) {
	cpuid.Initialize()
	dirs := files.Dirs{State: t.TempDir(), Run: t.TempDir(), Instance: "i"}
	s, err := Open(dirs, "gvisor", "v1")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"sound":            {func(*Manifest) {}, ""},
		"other driver":     {func(m *Manifest) { m.Driver = "qemu" }, "it is of qemu"},
		"other processor":  {func(m *Manifest) { m.Arch = "s390x" }, "s390x"},
		"missing feature":  {func(m *Manifest) { m.CPUFeatures = []string{"avx9000"} }, "avx9000"},
		"no engine":        {func(m *Manifest) { m.Engine = "" }, "more than its own files"},
		"a path of engine": {func(m *Manifest) { m.Engine = "../../bin/sh" }, "engine"},
		"without memory":   {func(m *Manifest) { m.Filesystem = true }, "more than its own files"},
		"host files":       {func(m *Manifest) { m.HostFiles = []HostFile{{Path: "/etc/passwd"}} }, "more than its own files"},
		"another image":    {func(m *Manifest) { m.Images["/mnt"] = "y" }, "more than its own files"},
		"no image":         {func(m *Manifest) { m.Images = nil }, "more than its own files"},
		"a path of file":   {func(m *Manifest) { m.Files["../x.img"] = 1 }, "image file"},
		"relative root":    {func(m *Manifest) { m.SavedRoot = "x" }, "not whole"},
		"a winding root":   {func(m *Manifest) { m.SavedRoot = "/var/../x" }, "not whole"},
		"a long root":      {func(m *Manifest) { m.SavedRoot = "/" + strings.Repeat("x", maxPath) }, "not whole"},
		"no root":          {func(m *Manifest) { m.SavedRoot = "" }, "not whole"},
		"no program":       {func(m *Manifest) { m.Spec.Args = nil }, "not whole"},
		"a boundless disk": {func(m *Manifest) { m.Spec.DiskMiB, m.Flags = 0, oci.Flags(vm.Spec{NetNS: "x"}, "") }, "not whole"},
		"other flags":      {func(m *Manifest) { m.Flags["platform"] = "kvm" }, "other flags"},
		"newer":            {func(m *Manifest) { m.Format = Format + 1 }, "manifest"},
		"names of the host": {func(m *Manifest) {
			m.Spec.Rootfs, m.Spec.Mounts, m.Spec.Kernel, m.Spec.GuestIP = "/", []vm.Mount{{Source: "/etc", Target: "/etc"}}, "/vmlinuz", "1.2.3.4"
			m.Spec.Drives = []vm.Drive{{ID: "x", Path: "/dev/sda"}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := sound()
			c.change(&m)
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.ReadMoved(text)
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errors.Is(err, vm.ErrIncompatible)) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if err == nil && (got.Spec.Rootfs != "" || got.Spec.Mounts != nil || got.Spec.Drives != nil || got.Spec.Kernel != "" || got.Spec.GuestIP != "" || got.Spec.NetNS != movedNetNS) {
				t.Errorf("%+v", got.Spec)
			}
		})
	}
	if _, err := s.ReadMoved(make([]byte, maxManifestSize+1)); !errors.Is(err, vm.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// What came can differ from what its description says. Then nothing of it stays.
func TestImport(t *testing.T) {
	cpuid.Initialize()
	image, err := erofs.Make(t.Context(), erofs.FS(fstest.MapFS{"agent": {Data: []byte("x")}}), t.TempDir(), erofs.Options{ForGuest: true})
	if err != nil {
		t.Fatal(err)
	}
	id, err := oci.ImageID(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(m *Manifest, dir string) error
		want   string
	}{
		"sound":        {func(*Manifest, string) error { return nil }, ""},
		"another root": {func(m *Manifest, _ string) error { m.Images["/"] = "another"; return nil }, "not the one that was saved"},
		"a short file": {func(_ *Manifest, dir string) error { return os.Truncate(filepath.Join(dir, "pages.img"), 1) }, "not those of its description"},
		"no file":      {func(_ *Manifest, dir string) error { return os.Remove(filepath.Join(dir, "pages.img")) }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dirs := files.Dirs{State: t.TempDir(), Run: t.TempDir(), Instance: "i"}
			s, err := Open(dirs, "gvisor", "v1")
			if err != nil {
				t.Fatal(err)
			}
			came, m := t.TempDir(), sound()
			m.Files, m.Images = map[string]int64{"pages.img": 7, "state.img": 5}, map[string]string{"/": id}
			err = errors.Join(dirs.Make(), os.WriteFile(filepath.Join(came, "pages.img"), []byte("content"), 0o600), os.WriteFile(filepath.Join(came, "state.img"), []byte("state"), 0o600), tt.change(&m, came))
			if err != nil {
				t.Fatal(err)
			}
			spec, err := s.Import(&m, came, image.Path, "vm1", "s1")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			var left []string
			if err := filepath.WalkDir(dirs.State, func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					left = append(left, path)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				if len(left) > 0 {
					t.Errorf("left are %q", left)
				}
				return
			}
			saved, err := readManifest(dirs.Snapshot("vm1", "s1"))
			if err != nil || spec.Rootfs != image.Path || saved.Spec.Rootfs != image.Path || saved.SavedRoot != "/var/lib/x.erofs" || !maps.Equal(saved.Files, m.Files) || len(left) != 3 {
				t.Errorf("%+v, %v; %q", saved, err, left)
			}
		})
	}
}

func FuzzReadMoved(f *testing.F) {
	cpuid.Initialize()
	s := &Store{driver: "gvisor", version: "v1"}
	f.Add([]byte(`{"format":5,"driver":"gvisor"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := s.ReadMoved(data); err == nil && (m.Spec.Rootfs != "" || len(m.Spec.Mounts) > 0) {
			t.Errorf("%+v", m.Spec)
		}
	})
}
