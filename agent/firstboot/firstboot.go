//go:build linux

// Package firstboot changes the file system of a guest when it starts for the first
// time, as the guest's root directory asks for it. The template "base" sees the
// host's /usr, to which nothing can be added on the host: the guest does it in its
// own layer. It may import the standard library; only the command imports it.
package firstboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is what is asked for, a line each:
//
//	link PATH TARGET    make a symbolic link, where there is nothing
//	remove PATH         remove a file, if there is one
//
// It is removed in the end. The host writes it, never a client.
const File = "/.rundlet/first-boot"

// Apply does what File below root says. It goes on after an error.
func Apply(root string) error {
	name := filepath.Join(root, File)
	content, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("first boot: %w", err)
	}
	errs := []error{os.Remove(name)}
	for line := range strings.Lines(string(content)) {
		errs = append(errs, apply(root, strings.Fields(line)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("first boot: %w", err)
	}
	return nil
}

func apply(root string, fields []string) error {
	switch {
	case len(fields) == 3 && fields[0] == "link":
		if err := os.Symlink(fields[2], filepath.Join(root, fields[1])); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case len(fields) == 2 && fields[0] == "remove":
		if err := os.Remove(filepath.Join(root, fields[1])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	case len(fields) > 0:
		return fmt.Errorf("invalid line %q", strings.Join(fields, " "))
	}
	return nil
}
