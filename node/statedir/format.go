package statedir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/layout"
)

// Format is the version of the layout of a state directory: which files and directories
// exist, and their names. Their contents have separate formats.
//
//	1  rundlet.db, templates/base, drivers/NAME, and the files of this package. A
//	   directory without the file "format" has it, too
//
// Lock, Share and CheckFormat refuse a directory of a higher number.
const Format = 1

func formatFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "format") }

// CheckFormat refuses the state directory of a newer program, and changes nothing: it is
// for commands that use the database without a lock. A directory without a number has
// the first, and so has one that is not there.
func CheckFormat(dirs layout.Layout) error {
	text, err := os.ReadFile(formatFile(dirs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the format of the state directory: %w", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil // The disk was full.
	}
	found, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("the format of the state directory in %s must be a number, got %.40q; nothing was changed", formatFile(dirs), text)
	}
	return format.Check("the state directory "+dirs.StateDir, found, Format)
}

// markFormat is CheckFormat, and writes the number of this program where there is none. A
// full disk does not keep a daemon from starting.
func markFormat(dirs layout.Layout) error {
	if _, err := os.Stat(formatFile(dirs)); errors.Is(err, fs.ErrNotExist) {
		_ = os.WriteFile(formatFile(dirs), fmt.Appendln(nil, Format), 0o600)
		return nil
	}
	return CheckFormat(dirs)
}
