//go:build linux

package control

import (
	"fmt"
	"os"
	"path/filepath"
)

// The files of a snapshot, with gVisor's names.
const (
	StateFile         = "checkpoint.img"
	PagesMetadataFile = "pages_meta.img"
	PagesFile         = "pages.img"
	// FSManifestFile is in snapshots of file systems only.
	FSManifestFile = "fscheckpoint.pb"
	FSTarFile      = "multitar.img"
)

var (
	// saveFiles are the files of a snapshot with memory, in the order in which the sandbox
	// takes them.
	saveFiles = []string{StateFile, PagesMetadataFile, PagesFile}
	// fsFiles are the files of a snapshot of file systems, in that order.
	fsFiles = []string{FSManifestFile, FSTarFile, PagesMetadataFile, PagesFile}
)

// openAll opens the named files of a directory. The caller closes them with closeAll.
func openAll(dir string, names []string, flags int) (files []*os.File, err error) {
	for _, name := range names {
		f, err := os.OpenFile(filepath.Join(dir, name), flags, 0o644)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("open the file of a snapshot: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

const (
	create = os.O_CREATE | os.O_EXCL | os.O_RDWR
	read   = os.O_RDONLY
)

// OpenFilesystem opens the files of a snapshot of file systems in dir, in the order in which
// a new sandbox process takes them. The caller closes them.
func OpenFilesystem(dir string) ([]*os.File, error) { return openAll(dir, fsFiles, read) }

// Checkpoint saves the sandbox with its memory into files in dir, which must not have them, without
// compression. The sandbox runs on, or stays frozen.
func (s Sandbox) Checkpoint(dir string) error {
	files, err := openAll(dir, saveFiles, create)
	if err != nil {
		return err
	}
	defer closeAll(files)
	args := SaveOpts{Metadata: map[string]string{"compression": "none"}, HavePagesFile: true, Resume: true}
	args.Files = files
	return s.call("save the sandbox", methodCheckpoint, &args, nil)
}

// FSSave saves the writable layers of the file systems at paths in the guest into files in dir, which
// must not have them.
func (s Sandbox) FSSave(dir string, paths []string) error {
	files, err := openAll(dir, fsFiles, create)
	if err != nil {
		return err
	}
	defer closeAll(files)
	var args FSSaveArgs
	args.Files = files
	for _, path := range paths {
		args.Paths = append(args.Paths, ResourceID{Path: path})
	}
	return s.call("save the file systems of the sandbox", methodFSSave, &args, nil)
}

// GuestRelease is the release of Linux that a guest sees.
const GuestRelease = "4.19.0-gvisor"
