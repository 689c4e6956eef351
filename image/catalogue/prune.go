//go:build linux

package catalogue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

// hold keeps an image from being pruned, by this process and others, until release is called or the process ends. The error is
// ErrNotFound if the image is gone. The caller holds the lock of the catalogue.
func (c *Catalogue) hold(file string) (release func(), err error) {
	held, err := lockImage(filepath.Join(c.cfg.Dir, file), unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("hold image %.100q: %w", file, err)
	}
	return func() { held.Close() }, nil
}

// Hold keeps an image of this catalogue, by its path, as hold does. What is elsewhere is not in it: then release does nothing.
func (c *Catalogue) Hold(path string) (release func(), err error) {
	if filepath.Dir(path) != filepath.Clean(c.cfg.Dir) {
		return func() {}, nil
	}
	err = c.locked(func() (err error) {
		release, err = c.hold(filepath.Base(path))
		return err
	})
	return release, err
}

// lockImage locks an image that is there, without a change of it.
func lockImage(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, flock.ErrHeld
	}
	return nil, err
}

// Keep returns the paths of the images that sandboxes and snapshots need. It is called when nothing can begin to hold an image that is
// to be removed: what held one before has written by then what it made of it. An error keeps all images.
type Keep func() ([]string, error)

// Prune removes the images that have no name, that nothing holds, and whose files are not in keep, by whatever path. It returns the
// bytes of the files that it removed.
func (c *Catalogue) Prune(keep Keep) (freed int64, err error) {
	err = c.locked(func() error {
		return errors.Join(c.removeTemporary(), c.eachUnneeded(keep, false, func(file string) error {
			info, err := os.Stat(filepath.Join(c.cfg.Dir, file))
			if err == nil {
				err = c.remove(file)
			}
			if err == nil {
				freed += info.Size()
			}
			return err
		}))
	})
	if err != nil {
		return freed, fmt.Errorf("prune images: %w", err)
	}
	return freed, nil
}

// PruneFolded is Prune of the roots of templates alone: those that Fold has made, and those that came with a template.
func (c *Catalogue) PruneFolded(keep Keep) error {
	err := c.locked(func() error {
		return c.eachUnneeded(keep, false, func(file string) error {
			if !strings.HasPrefix(file, adoptedPrefix) {
				return nil
			}
			return c.remove(file)
		})
	})
	if err != nil {
		return fmt.Errorf("prune roots of templates: %w", err)
	}
	return nil
}

// PruneOne removes one image, with its names if named is set, if Unneeded would return it now.
func (c *Catalogue) PruneOne(file string, keep Keep, named bool) (removed bool, err error) {
	err = c.locked(func() error {
		return c.eachUnneeded(keep, named, func(found string) error {
			if found != filepath.Base(file) {
				return nil
			}
			removed = true
			return c.remove(found)
		})
	})
	if err != nil {
		return false, fmt.Errorf("prune image %.100q: %w", file, err)
	}
	return removed, nil
}

// Unneeded returns the files of the images that nothing needs: all but those of keep, by whatever path, and those that a build holds; only those without a name, unless named is set.
func (c *Catalogue) Unneeded(keep []string, named bool) (files []string, err error) {
	err = c.locked(func() error {
		return c.eachUnneeded(func() ([]string, error) { return keep, nil }, named, func(file string) error {
			files = append(files, filepath.Join(c.cfg.Dir, file))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for images that nothing needs: %w", err)
	}
	return files, nil
}

// eachUnneeded calls visit for each image that nothing needs, while no build can begin with it. The caller holds the lock.
func (c *Catalogue) eachUnneeded(keep Keep, named bool, visit func(file string) error) error {
	files, free, err := c.unheld(named)
	if err != nil {
		return err
	}
	defer free()
	if len(files) == 0 {
		return nil
	}
	paths, err := keep()
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, path := range paths {
		kept[filepath.Base(path)] = true
	}
	for _, file := range files {
		if kept[file] {
			continue
		}
		if err := visit(file); err != nil {
			return err
		}
	}
	return nil
}

// unheld locks the images that nothing holds until free is called; only those without a name, unless named is set. The caller
// holds the lock of the catalogue.
func (c *Catalogue) unheld(named bool) (unheld []string, free func(), err error) {
	var locks []*os.File
	free = func() {
		for _, lock := range locks {
			lock.Close()
		}
	}
	kept := map[string]bool{}
	names, err := c.names()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		if !named {
			kept[n.File] = true
		}
	}
	files, err := c.files()
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		if kept[file] {
			continue
		}
		lock, err := lockImage(filepath.Join(c.cfg.Dir, file), unix.LOCK_EX)
		if errors.Is(err, flock.ErrHeld) {
			continue
		}
		if err != nil {
			free()
			return nil, nil, err
		}
		locks, unheld = append(locks, lock), append(unheld, file)
	}
	return unheld, free, nil
}

// remove removes an image: its names first, since a name means an image that is there, and its record last, since
// without the image it has no meaning.
func (c *Catalogue) remove(file string) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	paths := []string{filepath.Join(c.cfg.Dir, file), c.infoPath(file)}
	for _, n := range names {
		if n.File == file {
			paths = append([]string{c.namePath(n.Reference)}, paths...)
		}
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// removeTemporary removes the unfinished records of a process that was killed. The caller holds the lock.
func (c *Catalogue) removeTemporary() error {
	for _, pattern := range []string{"*.tmp", namesDir + "/*.tmp"} {
		left, err := filepath.Glob(filepath.Join(c.cfg.Dir, pattern))
		for _, name := range left {
			err = errors.Join(err, os.Remove(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
