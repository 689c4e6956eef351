//go:build !unix

package host

import "errors"

// Descriptors returns errors.ErrUnsupported.
func Descriptors() (int64, error) { return 0, errors.ErrUnsupported }
