//go:build linux

package testmachine

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Programs returns the files of programs of this host with the libraries that they are
// linked with, for Config.Files: their path in the machine to their path here.
func Programs(names ...string) (map[string]string, error) {
	files := map[string]string{}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		files["/bin/"+filepath.Base(name)] = path
		if err := addLibraries(files, path); err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", name, err)
		}
	}
	return files, nil
}

func addLibraries(files map[string]string, path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, part := range f.Progs {
		if part.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, part.Filesz-1) // Without the 0 at its end.
		if _, err := part.ReadAt(name, 0); err != nil {
			return err
		}
		files[string(name)] = string(name)
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, library := range libraries {
		place, err := findLibrary(library)
		if err != nil {
			return err
		}
		if files[place] == "" {
			files[place] = place
			if err := addLibraries(files, place); err != nil {
				return err
			}
		}
	}
	return nil
}

// findLibrary looks where the loader of Debian does.
func findLibrary(name string) (string, error) {
	for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("library %s not found", name)
}
