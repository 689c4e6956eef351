//go:build linux

package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// found is a kernel in a directory into which a package was extracted.
type found struct {
	version string
	image   string
	modules map[string]string // by their names, as the kernel writes them
	builtin map[string]bool
}

// find finds the one kernel in a tree.
func find(tree string) (found, error) {
	f := found{modules: map[string]string{}, builtin: map[string]bool{}}
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinu*-*"))
	if err != nil || len(images) != 1 {
		return f, fmt.Errorf("%s must have one boot/vmlinuz-*, and has %d", tree, len(images))
	}
	f.image = images[0]
	_, f.version, _ = strings.Cut(filepath.Base(f.image), "-")
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		dir = filepath.Join(tree, dir, f.version)
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && moduleOf(path) != "" {
				f.modules[moduleOf(path)] = path
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		list, _ := os.ReadFile(filepath.Join(dir, "modules.builtin"))
		for line := range strings.FieldsSeq(string(list)) {
			f.builtin[moduleOf(line)] = true
		}
	}
	return f, nil
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
func (f found) order() (files []string, err error) {
	var add func(name string, above []string) error
	add = func(name string, above []string) error {
		path := f.modules[name]
		switch {
		case path == "" && f.builtin[name]:
			return nil
		case path == "":
			return fmt.Errorf("kernel %s has no %s, neither as a module nor built in; it needs the option %s", f.version, name, option(name))
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
	for _, name := range needed {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	for _, name := range optional {
		if f.modules[name] != "" {
			if err := add(name, nil); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// option is the option of the kernel's configuration for a module.
func option(name string) string {
	special := map[string]string{"overlay": "OVERLAY_FS", "erofs": "EROFS_FS", "ext4": "EXT4_FS"}
	if o := special[name]; o != "" {
		return "CONFIG_" + o
	}
	return "CONFIG_" + strings.ToUpper(name)
}

// needsOf reads the modules that a module depends on.
func needsOf(path string) ([]string, error) {
	in, err := openUnpacked(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, maxModule+1))
	if err != nil || len(data) > maxModule {
		return nil, fmt.Errorf("module %s: not readable, or too large: %w", path, err)
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s: no section .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(strings.ReplaceAll(string(list), "-", "_"), ","), nil
		}
	}
	return nil, nil
}

// checkImage refuses a file that is no kernel of this processor architecture.
func checkImage(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 0x206)
	if _, err := io.ReadFull(f, head); err != nil {
		return fmt.Errorf("%s is no kernel: %w", path, err)
	}
	// Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst.
	is := map[string]bool{
		"amd64": string(head[0x202:0x206]) == "HdrS" || isELF(f, elf.EM_X86_64),
		"arm64": string(head[0x38:0x3c]) == "ARM\x64" || isELF(f, elf.EM_AARCH64),
	}
	if !is[runtime.GOARCH] {
		return fmt.Errorf("it is no kernel for %s", runtime.GOARCH)
	}
	return nil
}

func isELF(f io.ReaderAt, machine elf.Machine) bool {
	file, err := elf.NewFile(f)
	return err == nil && file.Machine == machine
}
