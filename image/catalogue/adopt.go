//go:build linux

package catalogue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/image/erofs"
)

const adoptedPrefix = "template-"

// AdoptedFile is the name of the file of a root that came with a template, by the SHA-256 of its content.
func AdoptedFile(sha256 string) string { return adoptedPrefix + sha256 + erofs.Suffix }

// Adopt moves the verified root of a template from elsewhere into the catalogue, unless it is there, and holds it until release is
// called. It has no name and no digest of an image: what it was made of is not known. path may be empty to hold one that is there; then
// the error is ErrNotFound if it is not.
func (c *Catalogue) Adopt(path, sha256 string) (root string, release func(), err error) {
	file := AdoptedFile(sha256)
	root = filepath.Join(c.cfg.Dir, file)
	adopt := func() error {
		if _, err := c.info(file); !errors.Is(err, ErrNotFound) || path == "" {
			return err
		}
		if !erofs.Whole(path) {
			return errors.New("the root is not an image that rundlet makes")
		}
		stat, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := writeJSON(c.infoPath(file), Info{Format: recordFormat, File: file, Added: time.Now().UTC(), Bytes: stat.Size()}); err != nil {
			return err
		}
		if err := os.Rename(path, root); err != nil {
			return err
		}
		return syncDir(c.cfg.Dir)
	}
	err = c.locked(func() (err error) {
		if err = adopt(); err == nil {
			release, err = c.hold(file)
		}
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("root of a template: %w", err)
	}
	return root, release, nil
}
