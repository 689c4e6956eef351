package snapshots

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"gvisor.dev/gvisor/pkg/cpuid"

	"github.com/rundlet/rundlet/vm"
)

func goodManifest(t testing.TB, dir string) *Manifest {
	t.Helper()
	id, err := identify(dir)
	if err != nil {
		t.Fatal(err)
	}
	spec := vm.Spec{Rootfs: dir, Args: []string{"/init"}}
	if err := os.WriteFile(filepath.Join(dir, "pages.img"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newManifest("gvisor", "v1", spec)
	m.Rootfs, m.Files["pages.img"] = id, 5
	return m
}

func TestManifestCompatible(t *testing.T) {
	cpuid.Initialize()
	dir := t.TempDir()
	if err := goodManifest(t, dir).compatible(dir, "gvisor", "v1"); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Manifest){
		"driver":     func(m *Manifest) { m.Driver = "other" },
		"version":    func(m *Manifest) { m.Version = "v2" },
		"arch":       func(m *Manifest) { m.Arch = "pdp11" },
		"flags":      func(m *Manifest) { m.Flags["overlay2"] = "all:self" },
		"rootfs":     func(m *Manifest) { m.Rootfs.Inode++ },
		"no rootfs":  func(m *Manifest) { m.Rootfs.Path += "/x" },
		"processor":  func(m *Manifest) { m.CPUFeatures = []string{"warp_drive"} },
		"image size": func(m *Manifest) { m.Files["pages.img"] = 6 },
		"no image":   func(m *Manifest) { m.Files["more.img"] = 1 },
	} {
		m := goodManifest(t, dir)
		change(m)
		if err := m.compatible(dir, "gvisor", "v1"); !errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRestoreSpec(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	m := &Manifest{Spec: vm.Spec{Rootfs: a, Args: []string{"/init"}, DiskMiB: 5, NetNS: "/n",
		Mounts: []vm.Mount{{Source: a, Target: "/one"}, {Source: a, Target: "/two", Overlay: true}}}}
	got, err := m.restoreSpec(vm.Spec{Rootfs: "/no", DiskMiB: 9, NetNS: "/m", Hostname: "h", MemoryMiB: 3,
		Mounts: []vm.Mount{{Source: b, Target: "/two", Overlay: true}, {Source: b, Target: "/one"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := vm.Spec{Rootfs: a, Args: []string{"/init"}, DiskMiB: 5, NetNS: "/m", Hostname: "h", MemoryMiB: 3,
		Mounts: []vm.Mount{{Source: b, Target: "/one"}, {Source: b, Target: "/two", Overlay: true}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for name, spec := range map[string]vm.Spec{
		"no network":      {Mounts: m.Spec.Mounts},
		"fewer mounts":    {NetNS: "/m", Mounts: m.Spec.Mounts[:1]},
		"another target":  {NetNS: "/m", Mounts: []vm.Mount{m.Spec.Mounts[0], {Source: a, Target: "/x", Overlay: true}}},
		"another overlay": {NetNS: "/m", Mounts: []vm.Mount{m.Spec.Mounts[0], {Source: a, Target: "/two"}}},
	} {
		if _, err := m.restoreSpec(spec); !errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	good, err := json.Marshal(Manifest{Format: Format, Files: map[string]int64{"pages.img": 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"files":{"../x.img":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		for name := range m.Files {
			if filepath.Join("/d", name) != "/d/"+name {
				t.Errorf("file %q climbs out", name)
			}
		}
	})
}
