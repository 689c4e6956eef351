//go:build linux

package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/flock"
)

// Install installs a kernel in dir, and makes it the one that new machines boot. from is a package (.deb), a directory into which packages
// were extracted, or a kernel image that has its drivers built in. more are packages with modules that the first one does not have.
// progress gets lines about what is done; it may be nil. A kernel is installed whole or not at all, and calls may run at the same time.
func Install(ctx context.Context, dir, from string, progress func(string), more ...string) (_ Kernel, err error) {
	if progress == nil {
		progress = func(string) {}
	}
	work, end, err := begin(dir)
	if err != nil {
		return Kernel{}, err
	}
	defer func() { err = errors.Join(err, end()) }()
	tree, err := open(ctx, append([]string{from}, more...), filepath.Join(work, "package"), progress)
	if err != nil {
		return Kernel{}, err
	}
	progress("storing kernel " + tree.version)
	made := filepath.Join(work, "kernel")
	k, err := tree.store(ctx, made)
	if err != nil {
		return Kernel{}, err
	}
	if k.NoVmlinux != "" {
		progress("no ELF file of it: " + k.NoVmlinux)
	}
	if err := syncTree(made); err != nil {
		return Kernel{}, err
	}
	if err := publish(dir, work, made, k.ID); err != nil {
		return Kernel{}, err
	}
	progress("new machines boot kernel " + k.ID)
	return ByID(dir, k.ID)
}

// begin makes a directory below dir to install in. end removes it; if the process dies before, the next call of begin does. The directory
// of a process that lives has a file that is locked.
func begin(dir string) (work string, end func() error, err error) {
	unlock, err := lock(dir)
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	for _, prefix := range []string{installing, removing} {
		left, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
		if err != nil {
			return "", nil, err
		}
		for _, path := range left {
			f, err := flock.Try(filepath.Join(path, lockFile))
			if errors.Is(err, flock.ErrHeld) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", nil, err
			}
			if err := errors.Join(os.RemoveAll(path), f.Close()); err != nil {
				return "", nil, err
			}
		}
	}
	work, err = os.MkdirTemp(dir, installing)
	if err != nil {
		return "", nil, err
	}
	owner, err := flock.Try(filepath.Join(work, lockFile))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(work))
	}
	return work, func() error { return errors.Join(os.RemoveAll(work), owner.Close()) }, nil
}

// open finds what is installed. Packages are extracted to the directory to.
func open(ctx context.Context, from []string, to string, progress func(string)) (Tree, error) {
	for _, path := range from {
		info, err := os.Stat(path)
		if err != nil {
			return Tree{}, err
		}
		deb, err := isPackage(path, info)
		switch {
		case err != nil:
			return Tree{}, err
		case !deb && len(from) > 1:
			return Tree{}, fmt.Errorf("%s is not a package (.deb): several must be packages", path)
		case info.IsDir():
			t, err := Find(path)
			if err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return t, err
		case !deb:
			return single(path)
		}
		progress("unpacking " + filepath.Base(path))
		if err := unpack(ctx, path, to); err != nil {
			return Tree{}, fmt.Errorf("unpack %s: %w", path, err)
		}
	}
	return Find(to)
}

// publish puts a kernel that is complete in its place, and makes it the current one. One of the same content that is there gives way: it
// may have been damaged since. Who has its files open keeps them.
func publish(dir, work, made, id string) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	place := filepath.Join(dir, id)
	if err := os.Rename(place, filepath.Join(work, "former")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	link := filepath.Join(work, currentLink)
	if err := os.Rename(made, place); err != nil {
		return err
	}
	if err := os.Symlink(id, link); err != nil {
		return err
	}
	return errors.Join(os.Rename(link, filepath.Join(dir, currentLink)), durable.Sync(dir))
}

// store writes the image and the modules, unpacked, with their description.
func (t Tree) store(ctx context.Context, dir string) (Kernel, error) {
	k := Kernel{Version: t.version, Installed: time.Now().UTC().Truncate(time.Second), Image: imageFile}
	for _, d := range []string{dir, filepath.Join(dir, modulesDir)} {
		if err := errors.Join(os.Mkdir(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			return k, err
		}
	}
	sum := sha256.New()
	image := filepath.Join(dir, imageFile)
	if err := copyTo(ctx, t.Image, image, maxImage, sum); err != nil {
		return k, err
	}
	if err := checkImage(image); err != nil {
		return k, fmt.Errorf("%s: %w", t.Image, err)
	}
	order, err := t.order()
	if err != nil {
		return k, err
	}
	for i, path := range order {
		name := fmt.Sprintf("%02d-%s.ko", i, moduleOf(path))
		if err := copyTo(ctx, path, filepath.Join(dir, modulesDir, name), maxModule, sum); err != nil {
			return k, err
		}
		k.Modules = append(k.Modules, name)
	}
	k.ID = hex.EncodeToString(sum.Sum(nil))[:12]
	if k.Vmlinux, err = extractVmlinux(ctx, image, filepath.Join(dir, vmlinuxFile)); err != nil {
		if ctx.Err() != nil {
			return k, err
		}
		k.NoVmlinux = err.Error()
	}
	data, err := json.Marshal(k)
	if err != nil {
		return k, err
	}
	return k, writeFile(filepath.Join(dir, infoFile), bytes.NewReader(data))
}

// copyTo writes a file unpacked, and adds its name and content to a checksum.
func copyTo(ctx context.Context, from, to string, most int64, sum hash.Hash) error {
	in, err := openUnpacked(from)
	if err != nil {
		return err
	}
	defer in.Close()
	r := &bounded{ctx: ctx, r: in, left: most, what: from}
	err = writeFile(to, io.TeeReader(r, sum))
	fmt.Fprintf(sum, "%s %d\n", filepath.Base(to), most-r.left)
	return err
}

// writeFile writes a new file that all can read.
func writeFile(path string, r io.Reader) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Chmod(0o644), out.Close())
}

// lock waits until no other process changes what is in dir, which it makes.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := flock.Wait(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return durable.Sync(path)
	})
}
