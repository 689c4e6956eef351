//go:build linux

package snapshots

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
)

// HostFile is a file below the root or a mount of a machine that a program in
// it had open or mapped when it was saved. A snapshot does not hold its content:
// a restore opens it again by its path, and gVisor does not ask whether it is
// still the same. With another libc below it a program would run on with the
// data of the old one and the code of the new one.
type HostFile struct {
	Path     string    `json:"path"` // in the guest
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// GoferRoot is where gVisor's file server has a machine's root. The paths of a
// sandbox's descriptors begin with it.
const GoferRoot = "/root"

// HostFiles lists the host's files that a machine which was just saved had open:
// gVisor gives up all others when it saves. It fails with ErrIncompatible if one
// of them was replaced since it was opened, for what was saved cannot be restored.
// The files of writable layers are not the guest's, and can be below a directory of the
// same name as GoferRoot.
// The images of its spec are not files of the guest either: see checkImages.
func (s *Store) HostFiles(pid int, spec vm.Spec) ([]HostFile, error) {
	images := imageFiles(spec)
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the files of the sandbox: %w", err)
	}
	var out []HostFile
	for _, entry := range entries {
		link, err := os.Readlink(dir + entry.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // Closed since: a running guest goes on.
		}
		if err != nil {
			return nil, fmt.Errorf("list the files of the sandbox: %w", err)
		}
		guest, ok := strings.CutPrefix(link, GoferRoot+"/")
		isOwn := slices.ContainsFunc(s.own, func(dir string) bool { return strings.HasPrefix(link, dir+"/") })
		if !ok || isOwn || images[strings.TrimSuffix(link, " (deleted)")] {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(dir+entry.Name(), &st); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("inspect %s of the sandbox: %w", link, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		path, deleted := strings.CutSuffix("/"+guest, " (deleted)")
		if deleted {
			return nil, &vm.HostChangedError{File: path, How: "was replaced"}
		}
		file := HostFile{path, st.Size, time.Unix(st.Mtim.Unix()).UTC()}
		if !slices.Contains(out, file) { // gVisor has two descriptors of each.
			out = append(out, file)
		}
	}
	return out, nil
}

// hostPath is where the host has what a guest sees at a path.
func hostPath(guest string, spec vm.Spec) string {
	source, target := filepath.Clean(spec.Rootfs), ""
	for _, m := range spec.Mounts {
		if (guest == m.Target || strings.HasPrefix(guest, m.Target+"/")) && len(m.Target) > len(target) {
			source, target = filepath.Clean(m.Source), m.Target
		}
	}
	return source + guest[len(target):]
}

// CheckHostFiles says which of the files of a machine is not what it was.
func CheckHostFiles(files []HostFile, spec vm.Spec) error {
	for _, f := range files {
		path := hostPath(f.Path, spec)
		var st unix.Stat_t
		err := unix.Stat(path, &st)
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
			return &vm.HostChangedError{File: f.Path, How: "is gone"}
		case err != nil:
			return &os.PathError{Op: "stat", Path: path, Err: err}
		case st.Size != f.Bytes || !time.Unix(st.Mtim.Unix()).Equal(f.Modified):
			return &vm.HostChangedError{File: f.Path, How: "was changed since it was saved"}
		}
	}
	return nil
}

// overCopiedRoot takes the times of the files in a root that is a copy with the
// same contents as they are now.
func (m *Manifest) overCopiedRoot() {
	now, err := identify(m.Rootfs.Path)
	if err != nil || m.Rootfs.same(now) {
		return
	}
	for i := range m.HostFiles {
		f := &m.HostFiles[i]
		path, root := hostPath(f.Path, m.Spec), filepath.Clean(m.Spec.Rootfs)
		if info, err := os.Stat(path); err == nil && strings.HasPrefix(path, root+"/") {
			f.Modified = info.ModTime().UTC()
		}
	}
}

// OwnHostFiles are those of the snapshot's files that a machine restored with
// this spec opens: not those below a mount whose source the caller changed.
func (m *Manifest) OwnHostFiles(spec vm.Spec) []HostFile {
	return slices.DeleteFunc(slices.Clone(m.HostFiles), func(f HostFile) bool {
		return hostPath(f.Path, spec) != hostPath(f.Path, m.Spec)
	})
}
