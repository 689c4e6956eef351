package snapshots

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/cpuid"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// A description may come from anybody: nothing of it names a file of this host afterwards.
func TestHostileDescriptions(t *testing.T) {
	cpuid.Initialize()
	dirs := files.Dirs{State: t.TempDir(), Run: t.TempDir(), Instance: "i"}
	s, err := Open(dirs, "gvisor", "v1")
	if err != nil {
		t.Fatal(err)
	}
	sound := func() Manifest {
		spec := vm.Spec{Args: []string{"/agent"}, Cwd: "/", NetNS: "/run/netns/x", DiskMiB: 512, VCPUs: 2}
		return Manifest{Format: Format, Driver: "gvisor", Version: "v0", Engine: "rundlet-sandbox-" + strings.Repeat("0", 16), Arch: runtime.GOARCH, Kernel: "4.4.0",
			Flags: oci.Flags(spec, ""), CPUFeatures: hostFeatures()[:1], Spec: spec, CreatedAt: time.Now(), Files: map[string]int64{"pages.img": 1},
			Images: map[string]string{"/": "x"}, SavedRoot: "/var/lib/x.erofs"}
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
