//go:build linux

package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The modules that a guest needs, unless the kernel has them built in, and those that it loads if there are any.
var (
	needed   = []string{"virtio_mmio", "virtio_console", "virtio_blk", "virtio_net", "overlay", "erofs", "ext4"}
	optional = []string{"virtio_pci", "virtio_rng", "virtio_balloon", "vmw_vsock_virtio_transport"}
)

// options are those of the kernel's configuration for modules whose name does not say it.
var options = map[string]string{"overlay": "OVERLAY_FS", "erofs": "EROFS_FS", "ext4": "EXT4_FS"}

const builtinFile = "modules.builtin"

// Tree is a kernel in a directory into which its packages were extracted.
type Tree struct {
	// Image is the file that is booted.
	Image   string
	version string
	modules map[string]string // by their names, as the kernel writes them
	builtin map[string]bool
	// whole says that there are no modules: what the image has built in is not known.
	whole bool
}

// Find finds the one kernel in a directory with boot/vmlinuz-* and its modules.
func Find(dir string) (Tree, error) {
	t := Tree{modules: map[string]string{}, builtin: map[string]bool{}}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinu*-*"))
	if err != nil {
		return t, err
	}
	if len(images) != 1 {
		return t, fmt.Errorf("there must be one boot/vmlinuz-*, and there are %d; a package that depends on the kernel's has none", len(images))
	}
	t.Image = images[0]
	_, t.version, _ = strings.Cut(filepath.Base(t.Image), "-")
	for _, modules := range []string{"lib/modules", "usr/lib/modules"} {
		modules = filepath.Join(dir, modules, t.version)
		err := filepath.WalkDir(modules, func(path string, entry fs.DirEntry, err error) error {
			if name := moduleOf(path); err == nil && name != "" && entry.Type().IsRegular() {
				t.modules[name] = path
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		list, err := os.ReadFile(filepath.Join(modules, builtinFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
		for line := range strings.FieldsSeq(string(list)) {
			t.builtin[moduleOf(line)] = true
		}
	}
	return t, nil
}

// moduleOf is the name of a module as the kernel writes it, of the path of its file; empty if it is none.
func moduleOf(path string) string {
	name := filepath.Base(path)
	for _, packed := range []string{".xz", ".zst", ".gz"} {
		name = strings.TrimSuffix(name, packed)
	}
	name, ok := strings.CutSuffix(name, ".ko")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(name, "-", "_")
}

// order returns the files of the modules that a guest needs, each after those that it needs.
func (t Tree) order() ([]string, error) {
	if t.whole {
		return nil, nil
	}
	names := slices.Clone(needed)
	for _, name := range optional {
		if t.modules[name] != "" {
			names = append(names, name)
		}
	}
	return t.Load(names)
}

// Load returns the files of modules, each after those that it needs; a kernel has no file of what it has built in.
func (t Tree) Load(names []string) (files []string, err error) {
	var add func(name string, above []string) error
	add = func(name string, above []string) error {
		name = strings.ReplaceAll(name, "-", "_")
		path := t.modules[name]
		switch {
		case path == "" && t.builtin[name]:
			return nil
		case path == "":
			return fmt.Errorf("kernel %s has no %.60q, neither as a module nor built in: it must be built with %s", t.version, name, option(name))
		case slices.Contains(files, path):
			return nil
		case slices.Contains(above, name):
			return fmt.Errorf("module %s needs itself", name)
		}
		needs, err := needsOf(path)
		if err != nil {
			return fmt.Errorf("module %s: %w", path, err)
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

// option is the option of the kernel's configuration for a module.
func option(name string) string {
	if special := options[name]; special != "" {
		return "CONFIG_" + special
	}
	return "CONFIG_" + strings.ToUpper(name)
}

// ReadModule returns the content of a module's file, unpacked.
func ReadModule(path string) ([]byte, error) {
	in, err := openUnpacked(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(&bounded{context.Background(), in, maxModule, path})
}

// needsOf reads the modules that a module depends on.
func needsOf(path string) ([]string, error) {
	data, err := ReadModule(path)
	if err != nil {
		return nil, err
	}
	return dependsOf(data)
}

func dependsOf(module []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil || section.FileSize > uint64(len(module)) {
		return nil, errors.New("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
