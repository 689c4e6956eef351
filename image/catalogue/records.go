//go:build linux

package catalogue

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/internal/format"
)

// recordFormat is the version of the records of images and names.
//
//	1  the first
const recordFormat = 1

// named is the record of a name.
type named struct {
	Reference string `json:"reference"`
	File      string `json:"file"`
}

func (c *Catalogue) infoPath(file string) string {
	return filepath.Join(c.cfg.Dir, strings.TrimSuffix(file, erofs.Suffix)+".json")
}

func (c *Catalogue) namePath(reference string) string {
	sum := sha256.Sum256([]byte(reference))
	return filepath.Join(c.cfg.Dir, namesDir, hex.EncodeToString(sum[:16])+".json")
}

// info describes an image. The error is ErrNotFound if it is not there, or not whole.
func (c *Catalogue) info(file string) (Info, error) {
	var info Info
	if !erofs.Whole(filepath.Join(c.cfg.Dir, file)) {
		return info, ErrNotFound
	}
	err := readJSON(c.infoPath(file), &info)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err == nil {
		err = format.Check("image "+file, int64(info.Format), recordFormat)
	}
	if err == nil && info.File != file {
		err = fmt.Errorf("%w: its record is that of %.100q", ErrNotFound, info.File)
	}
	return info, err
}

// name gives an image names, which others lose. The caller holds the lock.
func (c *Catalogue) name(file string, references []string) error {
	for _, reference := range references {
		if err := writeJSON(c.namePath(reference), named{reference, file}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Catalogue) names() ([]named, error) {
	files, err := withSuffix(filepath.Join(c.cfg.Dir, namesDir), ".json")
	if err != nil {
		return nil, err
	}
	var all []named
	for _, file := range files {
		var n named
		err := readJSON(filepath.Join(c.cfg.Dir, namesDir, file), &n)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Removed since the directory was read.
		}
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// List returns all images, by name; those without a name come first.
func (c *Catalogue) List() ([]Entry, error) {
	names, err := c.names()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	files, err := c.files()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var list []Entry
	for _, file := range files {
		info, err := c.info(file)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		has := false
		for _, n := range names {
			if n.File == file {
				has, list = true, append(list, Entry{n.Reference, info})
			}
		}
		if !has {
			list = append(list, Entry{Info: info})
		}
	}
	slices.SortFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Reference, b.Reference), cmp.Compare(a.File, b.File))
	})
	return list, nil
}

func (c *Catalogue) files() ([]string, error) { return withSuffix(c.cfg.Dir, erofs.Suffix) }

// withSuffix returns the names in a directory that end so. Unlike filepath.Glob, it fails if the directory cannot be read: what it
// does not list is removed, or loses its name.
func withSuffix(dir, suffix string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range list {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// minDigest is how many digits of a digest name an image.
const minDigest = 12

// Find returns the image with a reference, or with a digest of its configuration or manifest,
// or the begin of one.
func (c *Catalogue) Find(reference string) (Entry, error) {
	found, err := c.find(reference)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range found {
		if e.File != found[0].File && e.Digest != found[0].Digest {
			return Entry{}, fmt.Errorf("image %.300q: %w", reference, ErrAmbiguous)
		}
	}
	// Of several files with the same digest, the newest is for the guests of this program.
	return slices.MaxFunc(found, func(a, b Entry) int { return a.Added.Compare(b.Added) }), nil
}

// find returns all entries that are meant; at least one.
func (c *Catalogue) find(reference string) ([]Entry, error) {
	list, err := c.List()
	if err != nil {
		return nil, err
	}
	normal, nameErr := oci.Normal(reference)
	digits := strings.TrimPrefix(reference, "sha256:")
	isDigest := len(digits) >= minDigest && strings.Trim(digits, "0123456789abcdef") == ""
	var found []Entry
	for _, e := range list {
		if nameErr == nil && e.Reference == normal {
			return []Entry{e}, nil
		}
		if isDigest && (strings.HasPrefix(e.Digest, "sha256:"+digits) || strings.HasPrefix(e.Manifest, "sha256:"+digits)) {
			found = append(found, e)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if nameErr != nil && !isDigest {
		return nil, nameErr
	}
	return nil, fmt.Errorf("image %.300q: %w", reference, ErrNotFound)
}

// Remove takes a name from its image, or all names from the image with a digest. The file goes
// with the next Prune.
func (c *Catalogue) Remove(reference string) error {
	return c.locked(func() error {
		found, err := c.find(reference)
		if err != nil {
			return err
		}
		for _, e := range found {
			if e.Digest != found[0].Digest {
				return fmt.Errorf("image %.300q: %w", reference, ErrAmbiguous)
			}
		}
		for _, e := range found {
			if e.Reference == "" {
				continue
			}
			if err := os.Remove(c.namePath(e.Reference)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove image: %w", err)
			}
		}
		return syncDir(filepath.Join(c.cfg.Dir, namesDir))
	})
}

// writeJSON writes a file durably, as a whole or not at all. The caller holds the lock.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
