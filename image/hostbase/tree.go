//go:build linux

package hostbase

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// entry is a file, directory or symbolic link of the base.
type entry struct {
	mode     fs.FileMode // type, permissions and sticky bit
	uid, gid int
	data     []byte
	link     string
	// source is a file to copy, where it is too big for data.
	source string
}

// tree is the whole root directory before it is written, by slash-separated
// path without a leading slash.
type tree struct {
	entries map[string]entry
	changed []string // See Base.
}

func (t *tree) add(name string, e entry) {
	if dir := path.Dir(name); dir != "." {
		if _, ok := t.entries[dir]; !ok {
			t.add(dir, entry{mode: fs.ModeDir | 0o755})
		}
	}
	t.entries[name] = e
}

func (t *tree) dir(name string, perm fs.FileMode) { t.add(name, entry{mode: fs.ModeDir | perm}) }

func (t *tree) file(name string, perm fs.FileMode, content string) {
	t.add(name, entry{mode: perm, data: []byte(content)})
}

func (t *tree) symlink(name, target string) {
	t.add(name, entry{mode: fs.ModeSymlink | 0o777, link: target})
}

// names is sorted, so that a directory comes before what is in it.
func (t *tree) names() []string { return slices.Sorted(maps.Keys(t.entries)) }

// rootFormat is the version of the root images that this package makes. Raise it when
// the package changes in a way that the entries do not show.
//
//	1  the first
//	2  files of the host's /etc are taken by what they are known to hold
//
// It is part of every id, so that no program takes the image of another format for its
// own: it makes one beside it, and leaves alone what a saved spec names.
const rootFormat = 2

// digest returns the build id: see Base.ID.
func (t *tree) digest(cfg Config) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "hostbase-%d\n", rootFormat)
	for _, name := range t.names() {
		e := t.entries[name]
		sum := sha256.Sum256(e.data)
		if e.source != "" {
			if err := fileSum(e.source, &sum); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(h, "%q %o %d %d %q %x\n", name, uint32(e.mode), e.uid, e.gid, e.link, sum)
	}
	for _, m := range mounts(cfg.HostRoot, "") {
		fmt.Fprintf(h, "mount %q %q\n", m.Source, m.Target)
	}
	stamp(h, cfg.HostRoot, usrParts)
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

func fileSum(name string, sum *[sha256.Size]byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	copy(sum[:], h.Sum(nil))
	return nil
}

// usrParts are what changes when software is installed in /usr: reading all of it
// would take seconds on every start. A package manager writes its own list, and
// a manual installation changes the directory.
var usrParts = []string{
	"var/lib/dpkg/status", "var/lib/rpm/rpmdb.sqlite", "usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64",
	"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu",
	"usr/local", "usr/local/bin", "usr/local/lib", "usr/local/sbin",
}

// etcParts are what changes when that is configured which a base takes of /etc.
var etcParts = []string{"etc/alternatives", "etc/ld.so.cache", "etc/ld.so.conf.d", "etc/ssl/certs", "etc/ssl/openssl.cnf",
	"etc/manpath.config", "etc/fonts/conf.d"}

// HostStamp changes when a Build would probably have another ID because the host
// changed. It takes some microseconds; "" is "/".
func HostStamp(hostRoot string) string {
	h := sha256.New()
	stamp(h, cmp.Or(hostRoot, "/"), usrParts)
	stamp(h, cmp.Or(hostRoot, "/"), etcParts)
	return hex.EncodeToString(h.Sum(nil))
}

func stamp(w io.Writer, hostRoot string, parts []string) {
	for _, name := range parts {
		if fi, err := os.Stat(filepath.Join(hostRoot, name)); err == nil {
			fmt.Fprintf(w, "stamp %s %d %d\n", name, fi.Size(), fi.ModTime().UnixNano())
		}
	}
}

// write makes the tree in the existing directory root, which becomes 0755.
func (t *tree) write(ctx context.Context, root string) error {
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	for _, name := range t.names() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.entries[name].write(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

func (e entry) write(name string) error {
	switch {
	case e.mode.IsDir():
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
	case e.link != "":
		if err := os.Symlink(e.link, name); err != nil {
			return err
		}
		return os.Lchown(name, e.uid, e.gid)
	case e.source != "":
		if err := copyFile(e.source, name); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(name, e.data, 0o600); err != nil {
			return err
		}
	}
	// The umask does not apply to chmod.
	if err := os.Chown(name, e.uid, e.gid); err != nil {
		return err
	}
	return os.Chmod(name, e.mode)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
