//go:build linux

package snapshots

import (
	"fmt"
	"path/filepath"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// checkImages refuses to restore over other images than those that were saved: the
// sandbox process would end when it loads the snapshot, or read another file at the place of one. Only
// the images of this spec are looked at.
func (m *Manifest) checkImages(spec vm.Spec) error {
	if err := oci.CheckImages(spec); err != nil {
		return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
	}
	places := map[string]string{"/": spec.Rootfs}
	for _, mount := range spec.Mounts {
		places[mount.Target] = mount.Source
	}
	for at, path := range places {
		id := ""
		if oci.IsImage(path) {
			var err error
			if id, err = oci.ImageID(path); err != nil {
				return fmt.Errorf("%w: %w", vm.ErrIncompatible, err)
			}
		}
		if id != m.Images[at] {
			return fmt.Errorf("%w: image %.200s at %.100s is not the one that was saved", vm.ErrIncompatible, path, at)
		}
	}
	return nil
}

// imageFiles are the files of a machine's images, without symbolic links.
func imageFiles(spec vm.Spec) map[string]bool {
	files := map[string]bool{}
	for _, path := range oci.Images(spec) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			files[real] = true
		}
	}
	return files
}
