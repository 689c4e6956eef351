//go:build linux

package snapshots

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// rootfsIdentity distinguishes a root directory, or the file of an image, from another one at the
// same path.
type rootfsIdentity struct {
	Path string `json:"path"`
	// Device is for the reader only: a kernel numbers devices anew at each boot.
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// Born is when the directory was made, in nanoseconds; 0 if the file system
	// does not report it, and in snapshots of earlier versions.
	Born int64 `json:"born,omitempty"`
	// Digest is that of all that is in it (see treeDigest): a state directory that
	// came to another disk, or back from an archive, has other inodes. Empty in
	// snapshots of earlier versions.
	Digest string `json:"digest,omitempty"`
}

// identify says which directory a path leads to, without its digest.
func identify(path string) (rootfsIdentity, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return rootfsIdentity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	id := rootfsIdentity{Path: path, Device: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*int64(time.Second) + int64(st.Btime.Nsec)
	}
	return id, nil
}

// describe is identify with the digest, if that can be had: a save does not fail
// for it.
func describe(path string) (rootfsIdentity, error) {
	id, err := identify(path)
	if err == nil {
		id.Digest, _ = id.digest()
	}
	return id, err
}

// same reports whether both are of one directory, whatever the machine was
// booted in between.
func (r rootfsIdentity) same(o rootfsIdentity) bool {
	return r.Path == o.Path && r.Inode == o.Inode && (r.Born == o.Born || r.Born == 0 || o.Born == 0)
}

// fits reports whether there is at a path what was there when r was made: the
// same directory, or one that holds the same.
func (r rootfsIdentity) fits(path string) (bool, error) {
	now, err := identify(path)
	if err != nil || r.same(now) {
		return err == nil, err
	}
	if r.Path != path || r.Digest == "" {
		return false, nil
	}
	digest, err := now.digest()
	return err == nil && digest == r.Digest, err
}

// digests are those of the roots that this process has read. A root is not
// written to, so each is read once.
var digests sync.Map // From rootfsIdentity to string.

func (r rootfsIdentity) digest() (string, error) {
	r.Digest = ""
	if known, ok := digests.Load(r); ok {
		return known.(string), nil
	}
	of := treeDigest
	if oci.IsImage(r.Path) {
		of = oci.ImageID
	}
	digest, err := of(r.Path)
	if err == nil {
		digests.Store(r, digest)
	}
	return digest, err
}

// formerSetUID had the bit on the host in snapshots of earlier versions, and is
// digested as if it still had.
const formerSetUID = "/.rundlet/bin/sudo"

// treeDigest is one of the names, modes, owners and contents below a directory.
// Times are not in it: not every way to copy a directory keeps them whole.
func treeDigest(root string) (string, error) {
	all := sha256.New()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		name := strings.TrimPrefix(path, root)
		if name == formerSetUID {
			st.Mode |= unix.S_ISUID
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err = fileDigest(path)
		case unix.S_IFLNK:
			content, err = os.Readlink(path)
		case unix.S_IFCHR, unix.S_IFBLK:
			content = fmt.Sprint(st.Rdev)
		}
		fmt.Fprintf(all, "%q %o %d %d %q\n", name, st.Mode, st.Uid, st.Gid, content)
		return err
	})
	return hex.EncodeToString(all.Sum(nil)), err
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
