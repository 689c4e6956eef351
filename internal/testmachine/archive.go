//go:build linux

package testmachine

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// initramfs writes the files that the kernel unpacks before it starts /init, as a cpio
// archive of the "new ASCII" form.
func initramfs(w io.Writer, files map[string]string) error {
	out := &cpio{w: bufio.NewWriter(w)}
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		rel := strings.TrimPrefix(name, "/")
		for i, c := range rel {
			if dir := rel[:i]; c == '/' && !made[dir] {
				made[dir] = true
				out.entry(dir, 0o40755, nil)
			}
		}
		data, err := os.ReadFile(files[name])
		if err != nil {
			return err
		}
		out.entry(rel, 0o100755, data)
	}
	out.entry("TRAILER!!!", 0, nil)
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

type cpio struct {
	w      *bufio.Writer
	inodes int
	err    error
}

func (c *cpio) entry(name string, mode int, data []byte) {
	c.inodes++
	if c.err != nil {
		return
	}
	const magic, links = 0x070701, 1
	_, c.err = fmt.Fprintf(c.w, "%06x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		magic, c.inodes, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad(110 + len(name) + 1)
	if c.err == nil {
		_, c.err = c.w.Write(data)
	}
	c.pad(len(data))
}

func (c *cpio) pad(size int) {
	if c.err == nil {
		_, c.err = c.w.Write(make([]byte, (4-size%4)%4))
	}
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
