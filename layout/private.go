//go:build unix

package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// private makes an existing directory one that only its owner can enter, or says
// why it cannot be: other users of the host must not reach what is in it, and
// must not be able to put another one in its place. Service managers and
// administrators make such directories 0755; that is mended, and logged. all are
// our directories, which may be in each other.
func private(dir string, all []string, log *slog.Logger) error {
	real, err := trusted(dir, log)
	if err != nil {
		return err
	}
	info, err := os.Lstat(real)
	if err != nil {
		return err
	}
	owner, me := owner(info), os.Geteuid()
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", real)
	case owner != me:
		return fmt.Errorf("%s belongs to user %d, but the process runs as user %d: use another directory, or chown it", real, owner, me)
	case info.Mode().Perm()&0o077 == 0:
		return nil
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	// A separate file system has that at once; and what leads to another of our
	// directories may have been made a moment ago.
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		path := filepath.Join(dir, e.Name())
		return e.Name() == "lost+found" || slices.ContainsFunc(all, func(other string) bool {
			return other == path || strings.HasPrefix(other, path+string(filepath.Separator))
		})
	})
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return ours.MatchString(e.Name()) }) {
		return fmt.Errorf("%s has mode %#o and contains files of other programs (%s): use another directory, or chmod it to 0700",
			real, info.Mode().Perm(), entries[0].Name())
	}
	if err := os.Chmod(real, 0o700); err != nil {
		return err
	}
	log.Warn("removed other users' access to a directory", "path", real, "mode", fmt.Sprintf("%#o", info.Mode().Perm()))
	return nil
}

// ours are names that a directory of Rundlet's has: what has none of them is
// somebody else's, say /var/lib, and would not survive the mode 0700.
var ours = regexp.MustCompile(`^(rundlet\.db|default-key|templates|drivers|daemon\.lock|use\.lock|agent|bench|[dx][0-9a-f]{6})$`)

// maxLinks is how many symbolic links a path may have, as on Linux.
const maxLinks = 40

// trusted returns where an absolute path leads. It fails if every user could
// change that. One user who could is named in the log: it may well be the one who
// started this process with sudo, in their own directory.
func trusted(path string, log *slog.Logger) (string, error) {
	// The user that called sudo may own a directory, and links in it.
	mine := func(owner int) bool {
		return owner == 0 || owner == unmapped() || owner == os.Geteuid() || os.Getenv("SUDO_UID") == strconv.Itoa(owner)
	}
	at, rest, links := string(filepath.Separator), strings.Split(filepath.Clean(path), string(filepath.Separator)), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if owner := owner(info); !mine(owner) && len(rest) > 0 {
			log.Warn("the owner of a parent directory could replace its contents", "path", next, "user", owner)
		}
		if info.Mode().Type() != fs.ModeSymlink {
			if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 && len(rest) > 0 {
				return "", fmt.Errorf("%s is writable by all users, so its contents could be replaced", next)
			}
			at = next
			continue
		}
		if owner := owner(info); !mine(owner) {
			return "", fmt.Errorf("%s is a link owned by user %d, so it could be changed", next, owner)
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = string(filepath.Separator)
		}
		rest = append(strings.Split(target, string(filepath.Separator)), rest...)
	}
	return at, nil
}

// unmapped is the owner that files of others seem to have in a user namespace, or -1 outside of one. Who entered it has looked at the
// owners before: package node/rootless.
var unmapped = sync.OnceValue(func() int {
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || slices.Equal(strings.Fields(string(ids)), []string{"0", "0", "4294967295"}) {
		return -1
	}
	text, err := os.ReadFile("/proc/sys/fs/overflowuid")
	if err != nil {
		return -1
	}
	id, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return id
})

func owner(info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		panic(errors.New("file without an owner"))
	}
	return int(st.Uid)
}
