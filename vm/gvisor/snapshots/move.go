//go:build linux

package snapshots

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// NameRoot notes by which path the sandbox process of a saved machine knows its root, if that is not the one of the spec.
func (m *Manifest) NameRoot(saved string) {
	if saved != "" && saved != m.Spec.Rootfs {
		m.SavedRoot, m.Format = saved, Format
	}
}

// movedNetNS stands for a network namespace in the spec of a moved snapshot: a restore names another one.
const movedNetNS = "moved"

// portable is what another host can use of a spec.
func portable(spec vm.Spec) vm.Spec {
	out := vm.Spec{RootfsReadOnly: spec.RootfsReadOnly, Args: spec.Args, Env: spec.Env, Cwd: spec.Cwd,
		VCPUs: spec.VCPUs, MemoryMiB: spec.MemoryMiB, DiskMiB: spec.DiskMiB, MaxProcesses: spec.MaxProcesses}
	if spec.NetNS != "" {
		out.NetNS = movedNetNS
	}
	return out
}

// Export returns the description of a snapshot for another host, its files, and its root. ErrUnsupported if it needs more than these.
func (s *Store) Export(vmID, snapshot string) (description []byte, m *Manifest, err error) {
	m, err = readManifest(s.dirs.Snapshot(vmID, snapshot))
	if err != nil {
		return nil, nil, err
	}
	switch {
	case m.Filesystem:
		return nil, nil, fmt.Errorf("%w: the snapshot has no memory", vm.ErrUnsupported)
	case !oci.IsImage(m.Spec.Rootfs) || len(m.Spec.Mounts) > 0 || len(m.HostFiles) > 0:
		return nil, nil, &vm.Error{Op: "export snapshot", ID: vmID, Kind: vm.ErrUnsupported, Err: errors.New("it shows directories of this host, such as /usr"),
			Hint: "build the template from a container image, or from the base of a server with --base image"}
	case m.Engine == "":
		return nil, nil, fmt.Errorf("%w: nothing says which sandbox program made the snapshot", vm.ErrUnsupported)
	}
	out := *m
	out.NameRoot(filepath.Clean(m.Spec.Rootfs))
	if out.SavedRoot == "" {
		out.SavedRoot, out.Format = filepath.Clean(m.Spec.Rootfs), Format
	}
	out.Spec, out.Rootfs = portable(m.Spec), rootfsIdentity{Digest: m.Rootfs.Digest}
	description, err = json.Marshal(out)
	return description, m, err
}

// maxPath is the longest path of Linux.
const maxPath = 4096

// ReadMoved reads the description of a snapshot of another host, which anybody may have made, and refuses one that this host
// cannot restore. Nothing of it names a file of this host.
func (s *Store) ReadMoved(description []byte) (*Manifest, error) {
	if len(description) > maxManifestSize {
		return nil, fmt.Errorf("%w: its description has more than %d bytes", vm.ErrInvalid, maxManifestSize)
	}
	m, err := parseManifest(description)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	refuse := func(format string, args ...any) (*Manifest, error) {
		return nil, fmt.Errorf("%w: %s", vm.ErrIncompatible, fmt.Sprintf(format, args...))
	}
	if m.Driver != s.driver || m.Arch != runtime.GOARCH {
		return refuse("it is of %.40s on %.20s, this is %s on %s", m.Driver, m.Arch, s.driver, runtime.GOARCH)
	}
	have := hostFeatures()
	missing := slices.DeleteFunc(slices.Clone(m.CPUFeatures), func(f string) bool { _, ok := slices.BinarySearch(have, f); return ok })
	if len(missing) > 0 {
		return refuse("this host's processor has no %.200q: build it on a host of this kind", missing)
	}
	if m.Filesystem || m.Engine == "" || len(m.HostFiles) > 0 || len(m.Images) != 1 || m.Images["/"] == "" {
		return refuse("it needs more than its own files")
	}
	if !filepath.IsAbs(m.SavedRoot) || filepath.Clean(m.SavedRoot) != m.SavedRoot || len(m.SavedRoot) >= maxPath || len(m.Spec.Args) == 0 || m.Spec.DiskMiB <= 0 {
		return refuse("its description is not whole")
	}
	m.Spec = portable(m.Spec)
	if flags := oci.Flags(m.Spec, ""); !maps.Equal(flags, m.Flags) {
		return refuse("made with other flags: %s", mapDiff(m.Flags, flags))
	}
	return m, nil
}

// Import makes the files in dir, which are those of the description m, a snapshot over the root. What is in m of the former
// host is replaced. The caller holds the engine.
func (s *Store) Import(m *Manifest, dir, root, vmID, snapshot string) (spec vm.Spec, err error) {
	m.Spec.Rootfs, m.CreatedAt = filepath.Clean(root), time.Now().UTC()
	if id, err := oci.ImageID(m.Spec.Rootfs); err != nil || id != m.Images["/"] {
		return spec, errors.Join(fmt.Errorf("%w: its root is not the one that was saved", vm.ErrIncompatible), err)
	}
	if err := oci.CheckImages(m.Spec); err != nil {
		return spec, fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	if m.Rootfs, err = describe(m.Spec.Rootfs); err != nil {
		return spec, err
	}
	if m.SavedRoot == m.Spec.Rootfs {
		m.SavedRoot = ""
	}
	want := m.Files
	m.Files = map[string]int64{}
	staging, err := s.Stage()
	if err != nil {
		return spec, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(staging))
		}
	}()
	for name := range want { // Names of image files: see parseManifest.
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(staging, name)); err != nil {
			return spec, err
		}
	}
	if err := s.Seal(staging, m); err != nil {
		return spec, err
	}
	if !maps.Equal(m.Files, want) {
		return spec, fmt.Errorf("%w: its files are not those of its description", vm.ErrIncompatible)
	}
	return m.Spec, s.Commit(staging, vmID, snapshot, func() {})
}
