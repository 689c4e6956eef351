//go:build linux

package catalogue

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/layers"
)

// archiveBytes bounds what the layers of an image have without compression.
func (c *Catalogue) archiveBytes() int64 { return c.cfg.Limits.Complete().Bytes }

// limits are those of an image that is made now. An image is refused before anything of it is read if its layers have more bytes with
// compression than they may have without.
func (c *Catalogue) limits(all []oci.Layer) (layers.Limits, error) {
	limits := c.cfg.Limits
	most, err := c.imageBytes()
	if err != nil {
		return limits, err
	}
	if c.cfg.Room != nil {
		room, err := c.room()
		if err != nil {
			return limits, err
		}
		most = min(most, room/2)
		limits.Ask = func() error {
			_, err := c.room()
			return err
		}
	}
	if most > 0 && most < c.archiveBytes() {
		limits.Bytes, limits.Full = most, ErrFull
	}
	size := int64(0)
	for _, l := range all {
		if size += l.Size; size > c.archiveBytes() || most > 0 && size > most {
			return limits, fmt.Errorf("%w: its layers have more than %d bytes", cmp.Or(limits.Full, layers.ErrTooLarge), cmp.Or(limits.Bytes, c.archiveBytes()))
		}
	}
	return limits, nil
}

// room is how many bytes may be written now; ErrFull if there are none.
func (c *Catalogue) room() (int64, error) {
	if c.cfg.Room == nil {
		return 0, nil
	}
	room, err := c.cfg.Room()
	if err == nil && room <= 2 {
		err = fmt.Errorf("%w: the disk is too full", ErrFull)
	}
	return room, err
}

// imageBytes is how large the file of another image may be; 0 is without a limit.
func (c *Catalogue) imageBytes() (int64, error) {
	most, err := c.room()
	if err != nil || c.cfg.MaxBytes <= 0 {
		return most, err
	}
	files, err := c.files()
	if err != nil {
		return 0, err
	}
	left := c.cfg.MaxBytes
	for _, file := range files {
		info, err := os.Stat(filepath.Join(c.cfg.Dir, file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if err == nil {
			left -= info.Size()
		}
	}
	if left <= 0 {
		return 0, fmt.Errorf("%w: all images together have %d bytes, and may have %d; remove some", ErrFull, c.cfg.MaxBytes-left, c.cfg.MaxBytes)
	}
	return cmp.Or(min(most, left), left), nil
}
