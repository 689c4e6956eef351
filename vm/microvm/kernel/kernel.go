//go:build linux

// Package kernel keeps the kernels that microVMs boot, and makes their first files. A kernel is installed by its operator: from a package of
// Debian or Ubuntu, or from a directory into which one was extracted. It imports libraries for archives; drivers and cmd/rundlet import it.
package kernel

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Kernel is one that is installed.
type Kernel struct {
	// ID is made of the content of its files.
	ID string `json:"id"`
	// Version is its release, as "uname -r" has it in the guest.
	Version string `json:"version"`
	// Installed is when.
	Installed time.Time `json:"installed_at"`
	// Image is the path of the file that is booted, and Modules are those of its modules, in the order in which they are loaded.
	Image   string   `json:"image"`
	Modules []string `json:"modules,omitempty"`
	// Current: new machines boot it.
	Current bool `json:"current"`
}

// The modules that a guest needs, unless the kernel has them built in.
var (
	needed   = []string{"virtio_mmio", "virtio_console", "virtio_blk", "virtio_net", "overlay", "erofs", "ext4"}
	optional = []string{"virtio_rng", "virtio_balloon", "vmw_vsock_virtio_transport"}
)

const (
	imageFile   = "image"
	infoFile    = "kernel.json"
	modulesDir  = "modules"
	currentLink = "current"
	// maxImage and maxModule bound files, in bytes.
	maxImage, maxModule = 256 << 20, 64 << 20
)

// ErrNone says that no kernel is installed.
var ErrNone = fmt.Errorf("no guest kernel is installed: %w", fs.ErrNotExist)

// Open returns the kernel in dir that new machines boot: ErrNone.
func Open(dir string) (Kernel, error) {
	id, err := os.Readlink(filepath.Join(dir, currentLink))
	if errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, ErrNone
	} else if err != nil {
		return Kernel{}, err
	}
	return byID(dir, filepath.Base(id))
}

func byID(dir, id string) (Kernel, error) {
	var k Kernel
	data, err := os.ReadFile(filepath.Join(dir, id, infoFile))
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return k, fmt.Errorf("kernel %s: %w", id, err)
	}
	k.ID, k.Image = id, filepath.Join(dir, id, imageFile)
	for i, name := range k.Modules {
		k.Modules[i] = filepath.Join(dir, id, modulesDir, filepath.Base(name))
	}
	return k, nil
}

// List returns the kernels in dir, the newest first.
func List(dir string) ([]Kernel, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	current, _ := os.Readlink(filepath.Join(dir, currentLink))
	var all []Kernel
	for _, entry := range entries {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		k, readErr := byID(dir, entry.Name())
		if readErr != nil {
			err = errors.Join(err, readErr)
			continue
		}
		k.Current = k.ID == filepath.Base(current)
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kernel) int { return cmp.Or(b.Installed.Compare(a.Installed), strings.Compare(a.ID, b.ID)) })
	return all, err
}

// Remove removes a kernel that new machines do not boot. Those that run, and snapshots, need no kernel's file.
func Remove(dir, id string) error {
	all, err := List(dir)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(k Kernel) bool { return k.ID == id })
	switch {
	case i < 0:
		return fmt.Errorf("kernel %.40q: %w", id, fs.ErrNotExist)
	case all[i].Current && len(all) > 1:
		return fmt.Errorf("kernel %s is what new machines boot; install another one before", id)
	case all[i].Current:
		if err := os.Remove(filepath.Join(dir, currentLink)); err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(dir, id))
}

// Install installs a kernel in dir, and makes it the one that new machines boot. from is a package (.deb), or a directory into which one
// was extracted. progress is told what is done; it may be nil. A kernel is installed whole or not at all.
func Install(ctx context.Context, dir, from string, progress func(string)) (_ Kernel, err error) {
	if progress == nil {
		progress = func(string) {}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Kernel{}, err
	}
	work, err := os.MkdirTemp(dir, ".install-")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(work)
	tree := from
	if info, err := os.Stat(from); err != nil {
		return Kernel{}, err
	} else if !info.IsDir() {
		progress("unpacking " + filepath.Base(from))
		tree = filepath.Join(work, "package")
		if err := unpack(ctx, from, tree); err != nil {
			return Kernel{}, fmt.Errorf("unpack %s: %w", from, err)
		}
	}
	found, err := find(tree)
	if err != nil {
		return Kernel{}, err
	}
	progress("kernel " + found.version)
	made := filepath.Join(work, "kernel")
	k, err := found.store(ctx, made)
	if err != nil {
		return Kernel{}, err
	}
	if err := syncTree(made); err != nil {
		return Kernel{}, err
	}
	if err := os.Chmod(made, 0o755); err != nil {
		return Kernel{}, err
	}
	place := filepath.Join(dir, k.ID)
	if err := os.Rename(made, place); err != nil && !errors.Is(err, fs.ErrExist) {
		return Kernel{}, err // One of the same content is there already.
	}
	link := filepath.Join(work, currentLink)
	if err := errors.Join(os.Symlink(k.ID, link), os.Rename(link, filepath.Join(dir, currentLink)), syncPath(dir)); err != nil {
		return Kernel{}, err
	}
	progress("new machines boot kernel " + k.ID)
	out, err := byID(dir, k.ID)
	out.Current = true
	return out, err
}

// store writes the image and the modules, unpacked, with their description.
func (f found) store(ctx context.Context, dir string) (Kernel, error) {
	if err := os.MkdirAll(filepath.Join(dir, modulesDir), 0o755); err != nil {
		return Kernel{}, err
	}
	k := Kernel{Version: f.version, Installed: time.Now().UTC().Truncate(time.Second), Image: imageFile}
	sum := sha256.New()
	copyTo := func(from, to string, most int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := openUnpacked(from)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(in, most+1))
		if err == nil && n > most {
			err = fmt.Errorf("%s is larger than %d bytes", from, most)
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(to), n)
		return errors.Join(err, out.Close())
	}
	if err := copyTo(f.image, filepath.Join(dir, imageFile), maxImage); err != nil {
		return k, err
	}
	if err := checkImage(filepath.Join(dir, imageFile)); err != nil {
		return k, err
	}
	order, err := f.order()
	if err != nil {
		return k, err
	}
	for i, path := range order {
		name := fmt.Sprintf("%02d-%s.ko", i, moduleOf(path))
		if err := copyTo(path, filepath.Join(dir, modulesDir, name), maxModule); err != nil {
			return k, err
		}
		k.Modules = append(k.Modules, name)
	}
	k.ID = hex.EncodeToString(sum.Sum(nil))[:12]
	data, err := json.Marshal(k)
	if err != nil {
		return k, err
	}
	return k, os.WriteFile(filepath.Join(dir, infoFile), data, 0o644)
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, syncPath(path))
	})
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
