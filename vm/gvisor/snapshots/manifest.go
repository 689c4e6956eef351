//go:build linux

package snapshots

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"gvisor.dev/gvisor/pkg/cpuid"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

const (
	// ManifestFile is the name of a snapshot's manifest in its directory.
	ManifestFile = "manifest.json"
	// filesystemImage is the image that only a snapshot of a file system has.
	filesystemImage = control.FSManifestFile
	// Format is the version of the snapshots that this program makes:
	//
	//	1  the first
	//	2  the images hold objects of ours (see afterLoad in vm/gvisor)
	//	3  the guest can have one layer for root and mounts (see oci.Below)
	//	4  the guest has images (see oci.Images); others are still made with 3
	//	5  the root had another path when it was saved (see SavedRoot); others are still made with 3 or 4
	//
	// A program cannot load those of a higher number, and refuses them.
	Format = 5
	// withImages is the format of a snapshot of a machine that has images, where they were saved.
	withImages = 4
	// withoutImages is the format of a snapshot of a machine that has no images.
	withoutImages = 3
	// oldestFormat is the first that this program can restore.
	oldestFormat    = 1
	maxManifestSize = 1 << 20
)

// Manifest says what a snapshot needs to be restored. It is written last: a
// directory without one is not a snapshot.
type Manifest struct {
	Format     int    `json:"format"`
	Filesystem bool   `json:"filesystem,omitempty"`
	Driver     string `json:"driver"`
	Version    string `json:"version"`
	// Engine is the sandbox program that saved it (launch.EngineName), which restores it. A
	// snapshot without one needs the version of gVisor.
	Engine      string            `json:"engine,omitempty"`
	Arch        string            `json:"arch"`
	Kernel      string            `json:"kernel"`
	Flags       map[string]string `json:"flags"`
	CPUFeatures []string          `json:"cpu_features"`
	Rootfs      rootfsIdentity    `json:"rootfs"`
	Spec        vm.Spec           `json:"spec"`
	CreatedAt   time.Time         `json:"created_at"`
	// Files holds the size in bytes of each image file.
	Files map[string]int64 `json:"files"`
	// HostFiles are those of the host that the guest had open.
	HostFiles []HostFile `json:"host_files,omitempty"`
	// SetUID are the files that were made set-uid in the guest before it was saved.
	SetUID []string `json:"set_uid,omitempty"`
	// Images are the IDs of the machine's images (oci.ImageID), by their places in the guest.
	Images map[string]string `json:"images,omitempty"`
	// SavedRoot is the path that the image of the root had where the guest was saved first, which gVisor compares; empty: that of
	// the spec. Another host has the image elsewhere.
	SavedRoot string `json:"saved_root,omitempty"`
	// OneLayer says that mounts with Overlay are in the root's layer: see oci.Below.
	OneLayer bool `json:"one_layer,omitempty"`
}

func hostFeatures() []string {
	features := strings.Fields(cpuid.HostFeatureSet().FlagString())
	slices.Sort(features)
	return features
}

// newManifest is that of a snapshot taken here of a machine with this spec.
func newManifest(driver, version string, spec vm.Spec) *Manifest {
	return &Manifest{Format: withoutImages, Driver: driver, Version: version, Arch: runtime.GOARCH,
		Kernel: control.GuestRelease, Flags: oci.Flags(spec, ""), CPUFeatures: hostFeatures(), Spec: spec,
		CreatedAt: time.Now().UTC(), Files: map[string]int64{}}
}

// IsImage reports whether gVisor saved the file, rather than we.
func IsImage(name string) bool { return strings.HasSuffix(name, ".img") || name == filesystemImage }

// HasFilesystem reports whether images are of a file system that was written to.
func HasFilesystem(images string) bool {
	_, err := os.Stat(filepath.Join(images, filesystemImage))
	return err == nil
}

// LinkImages gives the images in from a second name in the new or empty
// directory to.
func LinkImages(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !IsImage(entry.Name()) {
			continue
		}
		if err := os.Link(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// parseManifest reads a manifest and refuses one that is not complete.
func parseManifest(data []byte) (*Manifest, error) {
	if err := format.CheckJSON("the manifest of the snapshot", data, Format); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	var m Manifest
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("manifest: data after its end")
	}
	if m.Format < oldestFormat || m.Format > Format {
		return nil, fmt.Errorf("manifest: format must be %d to %d, got %d", oldestFormat, Format, m.Format)
	}
	// A read-only root has no files to save.
	if len(m.Files) == 0 && !m.Filesystem {
		return nil, errors.New("manifest: no image files")
	}
	for name, size := range m.Files {
		if name != filepath.Base(name) || !IsImage(name) || size < 0 {
			return nil, fmt.Errorf("manifest: image file %.80q of %d bytes", name, size)
		}
	}
	if m.Engine != "" && launch.EngineName(m.Engine) != m.Engine {
		return nil, fmt.Errorf("manifest: engine %.80q", m.Engine)
	}
	if m.Spec.RestoreFrom != nil {
		return nil, errors.New("manifest: its spec restores another snapshot")
	}
	return &m, nil
}

func readManifest(dir string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifestSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxManifestSize {
		return nil, errors.New("manifest: too large")
	}
	return parseManifest(data)
}

// compatible says why the snapshot in dir cannot be restored by a driver of this name and
// version on this host, or nil.
func (m *Manifest) compatible(dir, driver, version string) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", vm.ErrIncompatible, fmt.Sprintf(format, args...))
	}
	if m.Driver != driver || m.Engine == "" && m.Version != version || m.Arch != runtime.GOARCH {
		return refuse("made by %.40s %.60s %.20s, this is %s %s %s", m.Driver, m.Version, m.Arch, driver, version, runtime.GOARCH)
	}
	if flags := oci.Flags(m.Spec, ""); !maps.Equal(flags, m.Flags) {
		return refuse("made with other flags: %s", mapDiff(m.Flags, flags))
	}
	if fits, err := m.Rootfs.fits(m.Rootfs.Path); err != nil {
		return refuse("its root file system is gone: %v", err)
	} else if !fits {
		return refuse("root file system %.100s was replaced", m.Rootfs.Path)
	}
	have := hostFeatures()
	for _, feature := range m.CPUFeatures {
		if m.Filesystem {
			break // No program that found them runs on.
		}
		if _, ok := slices.BinarySearch(have, feature); !ok {
			return refuse("this host's processor has no %.40s", feature)
		}
	}
	for name, size := range m.Files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Size() != size {
			return refuse("image file %s is damaged", name)
		}
	}
	return nil
}

func mapDiff(old, now map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if now[name] != old[name] {
			return fmt.Sprintf("%.40s was %.60q, is %q", name, old[name], now[name])
		}
	}
	return "fewer than now"
}

// coldSpec is the spec of a machine that boots with the file system of m: what
// the caller says, which must be about the same file system.
func (m *Manifest) coldSpec(want vm.Spec) (vm.Spec, error) {
	// First: a damaged image is the snapshot's matter, and not a mistake of the caller. No
	// program has files of a mount open.
	if err := m.checkImages(vm.Spec{Rootfs: want.Rootfs}); err != nil {
		return want, err
	}
	if err := oci.CheckCold(want); err != nil {
		return want, err
	}
	if fits, err := m.Rootfs.fits(filepath.Clean(want.Rootfs)); err != nil || !fits {
		return want, fmt.Errorf("%w: the snapshot is one of another root file system", vm.ErrIncompatible)
	}
	if want.RootfsReadOnly != m.Spec.RootfsReadOnly {
		return want, fmt.Errorf("%w: the root is read-only in one of snapshot and machine", vm.ErrIncompatible)
	}
	_, err := m.mounts(want.Mounts)
	return want, err
}

// restoreSpec is the spec of a machine restored from m: the snapshot's, with
// what the caller may choose anew.
func (m *Manifest) restoreSpec(want vm.Spec) (vm.Spec, error) {
	spec := m.Spec
	spec.Hostname, spec.GuestIP, spec.NetNS = want.Hostname, want.GuestIP, want.NetNS
	spec.VCPUs, spec.MemoryMiB, spec.Weight = want.VCPUs, want.MemoryMiB, want.Weight
	if (spec.NetNS == "") != (m.Spec.NetNS == "") {
		return spec, fmt.Errorf("%w: the snapshot and the machine must both have a network namespace or none", vm.ErrIncompatible)
	}
	if want.Mounts == nil {
		if err := oci.CheckMounts(spec.Mounts); err != nil {
			return spec, err
		}
		return spec, m.checkImages(spec)
	}
	mounts, err := m.mounts(want.Mounts)
	if spec.Mounts = mounts; err != nil {
		return spec, err
	}
	return spec, m.checkImages(spec)
}

// mounts are those of m, in their order, with the sources that the caller wants.
func (m *Manifest) mounts(want []vm.Mount) ([]vm.Mount, error) {
	mounts := slices.Clone(m.Spec.Mounts)
	if len(want) != len(mounts) {
		return nil, fmt.Errorf("%w: %d mounts, the snapshot has %d", vm.ErrIncompatible, len(want), len(mounts))
	}
	for i, have := range mounts {
		j := slices.IndexFunc(want, func(w vm.Mount) bool {
			return w.Target == have.Target && w.Overlay == have.Overlay
		})
		if j < 0 {
			return nil, fmt.Errorf("%w: no mount at %.100s as in the snapshot", vm.ErrIncompatible, have.Target)
		}
		mounts[i].Source = want[j].Source
	}
	return mounts, nil
}

// stamp says what a restore of m depends on. The flags that follow from a
// machine's spec are not in it: a restore takes them from the snapshot.
func (m *Manifest) stamp() vm.Stamp {
	s := vm.Stamp{Driver: m.Driver, Version: m.Version, Arch: m.Arch, Kernel: m.Kernel,
		Platform: m.Flags["platform"], CPUFeatures: m.CPUFeatures}
	for _, name := range slices.Sorted(maps.Keys(m.Flags)) {
		if name != "overlay2" && name != "network" && name != "platform" {
			s.Flags = append(s.Flags, name+"="+m.Flags[name])
		}
	}
	return s
}
