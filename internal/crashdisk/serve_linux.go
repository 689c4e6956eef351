package crashdisk

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// serveEnv makes a test binary the server of the disk in this directory.
const serveEnv = "RUNDLET_CRASHDISK"

// The files and directories of a disk's directory.
const (
	baseFile  = "base" // the content before the first write
	dataFile  = "data" // what was written
	servedDir = "served"
)

// ServeIfAsked serves a disk and ends the process, if Start started it for that.
// It is the first call of a TestMain. The server has a process of its own so
// that its end, however it comes about, fails the file system above it instead
// of leaving a process that waits for itself and cannot be killed.
func ServeIfAsked() {
	dir := os.Getenv(serveEnv)
	if dir == "" {
		return
	}
	if err := serve(dir); err != nil {
		fmt.Fprintln(os.Stderr, "crashdisk:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve ends when standard input does, which its parent holds open.
func serve(dir string) error {
	base, err := os.Open(filepath.Join(dir, baseFile))
	if err != nil {
		return err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return err
	}
	data, err := os.OpenFile(filepath.Join(dir, dataFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer data.Close()
	server, err := fs.Mount(filepath.Join(dir, servedDir), &root{log: NewLog(base, info.Size(), data)}, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "crashdisk", MaxWrite: 1 << 20, DisableXAttrs: true},
	})
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return server.Unmount()
}
