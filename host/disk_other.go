//go:build !linux

package host

import (
	"errors"
	"fmt"
)

// FreeBytes is not known on this system yet.
func (Host) FreeBytes(root string) (int64, error) {
	return 0, fmt.Errorf("free space of %s: %w on this system", root, errors.ErrUnsupported)
}

// TotalBytes is not known on this system yet.
func (Host) TotalBytes(root string) (int64, error) {
	return 0, fmt.Errorf("size of %s: %w on this system", root, errors.ErrUnsupported)
}
