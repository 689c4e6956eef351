// Package host reads how the machine is doing: free disk, memory, and the time
// that work stalls for want of a resource. It is mechanism without policy. It
// may import golang.org/x/sys, prometheus/procfs and nothing of this module; the
// runtime and cmd may import it. Where a figure does not exist, on another system or an old
// kernel, the error is errors.ErrUnsupported.
package host

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Host is a machine. The zero value is this one. It keeps no state and is safe
// for concurrent use.
type Host struct {
	// Proc is where the process file system is mounted; empty means /proc.
	Proc string
}

// maxFile is more than any file that is read here has.
const maxFile = 64 << 10

func (h Host) proc() string { return cmp.Or(h.Proc, "/proc") }

// read returns a file of the process file system.
func (h Host) read(name string) ([]byte, error) {
	path := filepath.Join(h.proc(), filepath.FromSlash(name))
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var content []byte
		if content, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err == nil && len(content) > maxFile {
			err = fmt.Errorf("more than %d bytes", maxFile)
		}
		if err == nil {
			return content, nil
		}
	}
	if unsupported(err) {
		return nil, fmt.Errorf("%s: %w by this kernel", path, errors.ErrUnsupported)
	}
	return nil, fmt.Errorf("%s: %w", path, err)
}

// unsupported: a kernel built without the figures has no file, and one started
// without them has a file that cannot be read.
func unsupported(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported)
}
