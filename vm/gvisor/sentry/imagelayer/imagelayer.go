//go:build linux

// Package imagelayer makes the files of the writable layers of a machine without a file server, whose
// root is an image. gVisor makes such a file in the mount namespace of the file server. So the
// sandbox process makes it, before it gives up the host's file system. It imports the
// standard library and golang.org/x/sys only.
package imagelayer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WithFiles adds gVisor's flag with a new file in dir for each layer that the arguments of its
// command boot name, before the last argument. It returns the arguments as they are
// if dir is empty. The files have no names, and end with the process and those that it becomes.
func WithFiles(args []string, dir string) ([]string, error) {
	if dir == "" {
		return args, nil
	}
	last := len(args) - 1
	out := append([]string{}, args[:last]...)
	for range layers(args) {
		fd, err := openUnnamed(dir)
		if err != nil {
			return nil, fmt.Errorf("make the file of the writable layer: %w", err)
		}
		out = append(out, "--gofer-filestore-fds="+strconv.Itoa(fd))
	}
	return append(out, args[last]), nil
}

// layers counts the layers that boot expects a file for.
func layers(args []string) (n int) {
	for _, arg := range args {
		confs, ok := strings.CutPrefix(arg, "--gofer-mount-confs=")
		if !ok {
			continue
		}
		for conf := range strings.SplitSeq(confs, ",") {
			if parts := strings.Split(conf, ":"); len(parts) > 1 && parts[1] == "anon" {
				n++
			}
		}
	}
	return n
}

// openUnnamed makes an empty file without a name, for programs that the process becomes
// too. Not every file system can make one, so it has gVisor's name for a moment; after a crash
// there, files.Dirs.RemoveUnclaimed removes it.
func openUnnamed(dir string) (fd int, err error) {
	f, err := os.CreateTemp(dir, "runsc-filestore-")
	if err != nil {
		return -1, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return -1, err
	}
	return unix.Dup(int(f.Fd()))
}
