//go:build linux

package testmachine

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// initramfs writes the files that the kernel unpacks before it starts /init. Modules are unpacked.
func initramfs(w io.Writer, files map[string]string) error {
	out := kernel.NewArchive(w)
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		rel := strings.TrimPrefix(name, "/")
		for i, c := range rel {
			if dir := rel[:i]; c == '/' && !made[dir] {
				made[dir] = true
				out.Dir(dir)
			}
		}
		data, err := kernel.ReadModule(files[name])
		if err != nil {
			return err
		}
		out.File(rel, 0o755, data)
	}
	return out.Close()
}

// disk writes the machine's files as a tar archive, which is the whole content of a disk.
func disk(w io.Writer, files map[string]string) error {
	out := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !path.IsAbs(name) || path.Clean(name) != name {
			return fmt.Errorf("file %q of the machine: must be an absolute clean path", name)
		}
		if err := addFile(out, name, files[name]); err != nil {
			return fmt.Errorf("file %s of the machine: %w", name, err)
		}
	}
	return out.Close() // Its end is two blocks of zeros.
}

func addFile(out *tar.Writer, name, from string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s must be a regular file", from)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: int64(info.Mode().Perm()), Size: info.Size()}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
