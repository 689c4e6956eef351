//go:build linux

package hostbase

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// hostFiles is all of the host's /etc that a guest sees, as patterns of
// path.Match below /etc; a directory stands for everything in it. What programs
// in /usr need to run, and what holds no secret on any host. Not here, on
// purpose: gitconfig, npmrc, pip.conf, apt, ssh, profile.d, environment.
var hostFiles = []string{
	"alternatives",
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d",
	"ssl/certs", "ssl/openssl.cnf", "ca-certificates.conf",
	"python3", "python3.*", "perl", "java-*-openjdk", "R",
	"services", "protocols", "mime.types", "debian_version", "lsb-release",
}

// maxHostFile and maxHostTotal bound what is copied of the host's /etc. The
// largest known file is the bundle of certificates, below 300 KB.
const (
	maxHostFile  = 4 << 20
	maxHostTotal = 32 << 20
)

// topLinks are the directories that a merged-/usr system has as links.
var topLinks = []string{"bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"}

// addTopLinks follows the host's links from / into /usr.
func (t *tree) addTopLinks(hostRoot string) error {
	for _, name := range topLinks {
		target, err := os.Readlink(filepath.Join(hostRoot, name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			if name == "bin" || name == "lib" {
				return fmt.Errorf("%w: it has no /%s", ErrUnsupportedHost, name)
			}
		case err != nil:
			return fmt.Errorf("%w: /%s is not a link into /usr; install the package usrmerge, or use an image", ErrUnsupportedHost, name)
		case path.Clean("/"+target) != "/usr/"+name:
			return fmt.Errorf("%w: /%s leads to %q, not to usr/%s", ErrUnsupportedHost, name, target, name)
		default:
			t.symlink(name, "usr/"+name)
		}
	}
	if _, err := os.Stat(filepath.Join(hostRoot, "usr/bin/bash")); err != nil {
		return fmt.Errorf("%w: it has no /usr/bin/bash", ErrUnsupportedHost)
	}
	return nil
}

// addHostFiles copies what hostFiles allows.
func (t *tree) addHostFiles(hostRoot string) error {
	c := hostCopier{tree: t, hostRoot: hostRoot}
	for _, pattern := range hostFiles {
		matches, err := filepath.Glob(filepath.Join(hostRoot, "etc", pattern))
		if err != nil {
			return err
		}
		for _, m := range matches {
			if err := filepath.WalkDir(m, c.visit); err != nil {
				return err
			}
		}
	}
	t.dropDangling(hostRoot)
	return nil
}

type hostCopier struct {
	tree     *tree
	hostRoot string
	total    int64
}

// visit takes regular files that every user of the host may read, and links;
// those that lead nowhere in the base go in the end (see dropDangling). It passes over everything else: a missing piece of
// configuration is a smaller evil than a leaked one.
func (c *hostCopier) visit(name string, d fs.DirEntry, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil // Removed since the directory was read.
	}
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(c.hostRoot, name)
	if err != nil {
		return err
	}
	fi, err := d.Info()
	if err != nil {
		return nil
	}
	switch {
	case d.IsDir():
		if fi.Mode().Perm()&0o005 != 0o005 {
			return fs.SkipDir
		}
		c.tree.dir(rel, 0o755)
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(name)
		if err == nil {
			c.tree.symlink(rel, target)
		}
	case d.Type().IsRegular():
		if fi.Mode().Perm()&0o004 == 0 || fi.Size() > maxHostFile {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil || secret(rel, data) {
			return nil
		}
		if c.total += int64(len(data)); c.total > maxHostTotal {
			return fmt.Errorf("more than %d bytes of configuration in %s", maxHostTotal, filepath.Dir(name))
		}
		c.tree.file(rel, fi.Mode().Perm()&0o755, string(data))
	}
	return nil
}

// secret is the second line of defence behind the list.
func secret(name string, data []byte) bool {
	base := strings.ToLower(path.Base(name))
	return strings.Contains(base, "password") || strings.Contains(base, "secret") ||
		strings.HasSuffix(base, ".key") || bytes.Contains(data, []byte("PRIVATE KEY-----"))
}

// resolve returns where the link name leads, without a leading slash and with
// the links of merged /usr followed.
func resolve(name, target string) string {
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(name), target)
	}
	target = strings.TrimPrefix(path.Clean(target), "/")
	for _, top := range topLinks {
		if strings.HasPrefix(target, top+"/") {
			return "usr/" + target
		}
	}
	return target
}

// dropDangling removes links of /etc that lead nowhere in the base, and links
// to those, until none is left.
func (t *tree) dropDangling(hostRoot string) {
	for again := true; again; {
		again = false
		for name, e := range t.entries {
			if e.link == "" || !strings.HasPrefix(name, "etc/") {
				continue
			}
			to := resolve(name, e.link)
			if _, ok := t.entries[to]; ok {
				continue
			}
			if strings.HasPrefix(to, "usr/") {
				if _, err := os.Lstat(filepath.Join(hostRoot, to)); err == nil {
					continue
				}
			}
			delete(t.entries, name)
			again = true
		}
	}
}
