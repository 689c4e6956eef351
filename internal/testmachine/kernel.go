//go:build linux

package testmachine

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Kernel is a kernel with its modules, as a Debian package of a kernel has them.
type Kernel struct {
	// Image is the file that the machine boots.
	Image string
	// Modules is the directory of the modules, which are not compressed.
	Modules string
}

// OpenKernel finds the kernel in a directory into which a package was extracted.
func OpenKernel(dir string) (Kernel, error) {
	one := func(pattern string) (string, error) {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("%s must have one %s, and has %d", dir, pattern, len(found))
		}
		if err != nil {
			return "", fmt.Errorf("kernel of the test machine: %w", err)
		}
		return found[0], nil
	}
	image, err := one("boot/vmlinuz-*")
	if err != nil {
		return Kernel{}, err
	}
	modules, err := one("lib/modules/*")
	return Kernel{image, modules}, err
}

// load returns the files of modules, each after those that it needs.
func (k Kernel) load(names []string) (files []string, err error) {
	paths := map[string]string{}
	err = filepath.WalkDir(k.Modules, func(path string, entry fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok && err == nil && entry.Type().IsRegular() {
			paths[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var add func(name string, above []string) error
	add = func(name string, above []string) error {
		path := paths[moduleName(name)]
		switch {
		case path == "":
			return fmt.Errorf("the kernel in %s has no module %s", k.Modules, name)
		case slices.Contains(files, path):
			return nil
		case slices.Contains(above, name):
			return fmt.Errorf("module %s needs itself", name)
		}
		needs, err := needsOf(path)
		if err != nil {
			return err
		}
		for _, need := range needs {
			if err := add(need, append(above, name)); err != nil {
				return err
			}
		}
		files = append(files, path)
		return nil
	}
	for _, name := range names {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// moduleName is the name as the kernel writes it: files have dashes, too.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// needsOf reads the modules that a module depends on.
func needsOf(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s: %w", path, errors.New("no section .modinfo"))
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	for field := range bytes.SplitSeq(data, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
