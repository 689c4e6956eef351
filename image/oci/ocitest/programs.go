//go:build linux

package ocitest

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// HostPrograms returns programs of this host in usr/bin of a layer, each before the libraries that
// it is linked with.
func HostPrograms(names ...string) ([]File, error) {
	p := programs{have: map[string]bool{}}
	for _, name := range names {
		err := p.add("usr/bin/"+name, "/usr/bin/"+name)
		if errors.Is(err, fs.ErrNotExist) { // As in a test machine.
			delete(p.have, "usr/bin/"+name)
			err = p.add("usr/bin/"+name, "/bin/"+name)
		}
		if err != nil {
			return nil, err
		}
	}
	return p.files, nil
}

type programs struct {
	have  map[string]bool
	files []File
}

// add adds a program or a library, and what it is linked with.
func (p *programs) add(name, from string) error {
	if p.have[name] {
		return nil
	}
	p.have[name] = true
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	p.files = append(p.files, Program(name, string(data), 0o755))
	f, err := elf.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if interp := f.Section(".interp"); interp != nil {
		text, err := interp.Data()
		if err == nil {
			path := strings.TrimRight(string(text), "\x00")
			err = p.add(inUsr(path), path)
		}
		if err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, library := range libraries {
		path, err := find(library)
		if err == nil {
			err = p.add(inUsr(path), path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return nil
}

func inUsr(path string) string {
	path = strings.TrimPrefix(path, "/")
	if strings.HasPrefix(path, "usr/") {
		return path
	}
	return "usr/" + path
}

// find returns where this host has a library.
func find(library string) (string, error) {
	for _, pattern := range []string{"/lib/*-linux-gnu/", "/usr/lib/*-linux-gnu/", "/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/"} {
		if found, err := filepath.Glob(pattern + library); err != nil || len(found) > 0 {
			return strings.Join(found[:min(len(found), 1)], ""), err
		}
	}
	return "", fmt.Errorf("%s: %w", library, os.ErrNotExist)
}
