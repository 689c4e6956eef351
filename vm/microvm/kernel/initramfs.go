//go:build linux

package kernel

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
)

// Initramfs writes the files that the kernel unpacks before it starts /init, as a cpio archive of the "new ASCII" form: init, the modules, and
// /modules.list with their names in the order in which they are loaded. The same input makes the same bytes.
func Initramfs(w io.Writer, k Kernel, init []byte) error {
	a := NewArchive(w)
	for _, dir := range []string{"dev", "proc", "sys", "run", "root", "modules"} {
		a.Dir(dir)
	}
	a.Device("dev/console", 5, 1)
	a.File("init", 0o755, init)
	var list strings.Builder
	for _, file := range k.Modules {
		content, err := ReadModule(file)
		if err != nil {
			return err
		}
		name := path.Join("modules", filepath.Base(file))
		a.File(name, 0o644, content)
		fmt.Fprintln(&list, "/"+name)
	}
	a.File("modules.list", 0o644, []byte(list.String()))
	return a.Close()
}

// Archive writes a cpio archive as the kernel unpacks it. It keeps the first error, which Close returns. It is for one goroutine.
type Archive struct {
	w      *bufio.Writer
	inodes int
	err    error
}

// NewArchive begins an archive.
func NewArchive(w io.Writer) *Archive { return &Archive{w: bufio.NewWriter(w)} }

// Dir adds a directory. Those above an entry must come before it.
func (a *Archive) Dir(name string) { a.entry(name, 0o40755, nil, 0, 0) }

// File adds a file.
func (a *Archive) File(name string, mode int, content []byte) {
	a.entry(name, 0o100000|mode, content, 0, 0)
}

// Device adds a character device that root can use.
func (a *Archive) Device(name string, major, minor int) { a.entry(name, 0o20600, nil, major, minor) }

// Close ends the archive, and returns the first error.
func (a *Archive) Close() error {
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

func (a *Archive) entry(name string, mode int, data []byte, major, minor int) {
	a.inodes++
	if a.err != nil {
		return
	}
	const magic, links = 0x070701, 1
	_, a.err = fmt.Fprintf(a.w, "%06x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		magic, a.inodes, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	a.pad(110 + len(name) + 1)
	if a.err == nil {
		_, a.err = a.w.Write(data)
	}
	a.pad(len(data))
}

func (a *Archive) pad(size int) {
	if a.err == nil {
		_, a.err = a.w.Write(make([]byte, (4-size%4)%4))
	}
}
