//go:build linux

// Package kernel keeps the kernels that microVMs boot, and makes their first files. A kernel is installed by its operator: from packages of
// Debian or Ubuntu, from a directory into which they were extracted, or from an image that has its drivers built in. Files are read as
// hostile: sizes are bounded, and nothing is written outside the directory of the kernels. It may import internal/flock and libraries for
// archives; drivers, cmd/rundlet/kernels and internal/testmachine import it.
package kernel

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/durable"
)

// Kernel is one that is installed.
type Kernel struct {
	// ID is 12 hexadecimal digits of the SHA-256 of its image and its modules.
	ID string `json:"id"`
	// Version is its release, as "uname -r" has it in the guest. It is what the package says.
	Version string `json:"version"`
	// Installed is when it was installed last.
	Installed time.Time `json:"installed_at"`
	// Image is the path of the file that is booted, and Modules are those of its modules, in the order in which they are loaded.
	Image   string   `json:"image"`
	Modules []string `json:"modules,omitempty"`
	// Vmlinux is the path of the same kernel as an ELF file: what Image has compressed, or Image itself. If it is empty, NoVmlinux says why.
	Vmlinux   string `json:"vmlinux,omitempty"`
	NoVmlinux string `json:"no_vmlinux,omitempty"`
	// Current says that new machines boot it.
	Current bool `json:"current"`
}

const (
	imageFile   = "image"
	vmlinuxFile = "vmlinux"
	infoFile    = "kernel.json"
	modulesDir  = "modules"
	currentLink = "current"
	lockFile    = ".lock"
	// Directories whose names begin so are not a kernel yet, or not any more.
	installing = ".install-"
	removing   = ".remove-"

	// Sizes in bytes: an image or an ELF file, a module, and what is read of infoFile.
	maxImage, maxModule, maxInfo = 512 << 20, 64 << 20, 1 << 20
)

// ErrNone says that no kernel is installed. It is a fs.ErrNotExist.
var ErrNone = fmt.Errorf("no guest kernel is installed: %w", fs.ErrNotExist)

var validID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// Open returns the kernel in dir that new machines boot, which is the one that was installed last: ErrNone.
func Open(dir string) (Kernel, error) {
	id, err := current(dir)
	if err != nil {
		return Kernel{}, err
	}
	if id == "" {
		return Kernel{}, ErrNone
	}
	return ByID(dir, id)
}

// current returns the kernel that new machines boot; empty if there is none.
func current(dir string) (id string, err error) {
	id, err = os.Readlink(filepath.Join(dir, currentLink))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return id, err
}

// ByID returns a kernel in dir: fs.ErrNotExist.
func ByID(dir, id string) (Kernel, error) {
	var k Kernel
	if !validID.MatchString(id) {
		return k, fmt.Errorf("kernel %.40q: %w", id, fs.ErrNotExist)
	}
	home := filepath.Join(dir, id)
	f, err := os.Open(filepath.Join(home, infoFile))
	if err != nil {
		return k, fmt.Errorf("kernel %s: %w", id, err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxInfo)).Decode(&k); err != nil {
		return k, fmt.Errorf("kernel %s: %s: %w", id, infoFile, err)
	}
	k.ID, k.Image = id, filepath.Join(home, imageFile)
	if k.Vmlinux != "" {
		k.Vmlinux = filepath.Join(home, filepath.Base(k.Vmlinux))
	}
	for i, name := range k.Modules {
		k.Modules[i] = filepath.Join(home, modulesDir, filepath.Base(name))
	}
	now, err := current(dir)
	k.Current = now == id
	return k, err
}

// List returns the kernels in dir, the newest first, with an error that names those that cannot be read.
func List(dir string) ([]Kernel, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []Kernel
	for _, entry := range entries {
		if !entry.IsDir() || !validID.MatchString(entry.Name()) {
			continue
		}
		k, readErr := ByID(dir, entry.Name())
		if readErr != nil {
			err = errors.Join(err, readErr)
			continue
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kernel) int { return cmp.Or(b.Installed.Compare(a.Installed), strings.Compare(a.ID, b.ID)) })
	return all, err
}

// Remove removes a kernel, also a damaged one: fs.ErrNotExist. The one that new machines boot is removed only if it is the last. Machines
// that run, and snapshots with memory, need no kernel's file.
func Remove(dir, id string) (err error) {
	home := filepath.Join(dir, id)
	if !validID.MatchString(id) {
		return fmt.Errorf("kernel %.40q: %w", id, fs.ErrNotExist)
	}
	if _, err := os.Stat(home); err != nil { // Before dir is made.
		return fmt.Errorf("kernel %s: %w", id, err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := current(dir)
	if err != nil {
		return err
	}
	if now == id {
		all, _ := List(dir)
		if slices.ContainsFunc(all, func(k Kernel) bool { return k.ID != id }) {
			return fmt.Errorf("kernel %s is what new machines boot: install another one first", id)
		}
		if err := os.Remove(filepath.Join(dir, currentLink)); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp(dir, removing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := os.Rename(home, filepath.Join(work, id)); err != nil {
		return fmt.Errorf("kernel %s: %w", id, err)
	}
	return durable.Sync(dir)
}
