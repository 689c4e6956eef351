//go:build linux

package hostbase

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rundlet/rundlet/image/guest"
)

// SetUID is that of package guest.
var SetUID = guest.SetUID

const (
	agentDir  = guest.Dir
	agentPath = guest.AgentPath
	sudoPath  = guest.SudoPath
	guestPath = guest.Path
)

// Mend takes the set-uid bit from the files in dir that earlier versions gave it,
// in whole builds and in half ones. Guests of these builds keep what SetUID says.
func Mend(dir string) error {
	builds, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("base: %w", err)
	}
	for _, build := range builds {
		for _, path := range SetUID {
			if err := dropSetUID(filepath.Join(dir, build.Name(), path)); err != nil {
				return fmt.Errorf("base: %w", err)
			}
		}
	}
	return nil
}

func dropSetUID(file string) error {
	fi, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil || !fi.Mode().IsRegular() || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) == 0 {
		return err
	}
	return os.Chmod(file, fi.Mode().Perm())
}
