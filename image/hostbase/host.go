//go:build linux

package hostbase

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// hostFiles are all of the host's /etc that a guest sees: what programs in /usr
// need to run. Each is a pattern of path.Match below /etc and says what of such a
// file is taken; a directory stands for the files below it. Not here, on purpose:
// gitconfig, npmrc, pip.conf, apt, ssh, profile.d, environment.
func hostFiles(d digests) []hostFile {
	const word = `[\w.+/:*-]+`
	path := `/` + word
	return []hostFile{
		{"alternatives", onlyLinks},
		{"ld.so.cache", loaderCache},
		{"ld.so.conf", lines(path + `|include\s+` + path)}, {"ld.so.conf.d", lines(path + `|include\s+` + path)},
		{"ssl/certs", certificates},
		{"ssl/openssl.cnf", d.distributed},
		{"ca-certificates.conf", lines(`!?[\pL\pM\w.+/:*=-]+\.crt`)},
		{"python3", d.distributed}, {"python3.*", d.distributed}, {"perl", d.distributed},
		{"java-*-openjdk", d.distributed}, {"R", d.distributed},
		{"manpath.config", d.distributed}, {"groff", d.distributed}, {"fonts", d.distributed},
		{"vim", d.distributed}, {"nanorc", d.distributed}, {"screenrc", d.distributed}, {"ImageMagick-*", d.distributed},
		{"services", lines(word + `\s+\d+/\w+(\s+` + word + `)*`)},
		{"protocols", lines(word + `\s+\d+(\s+` + word + `)*`)},
		{"mime.types", lines(`[\w.+-]+/` + word + `(\s+(~|%|` + word + `))*`)},
		{"debian_version", lines(`[\w.+~/-]+`)},
		{"lsb-release", lines(`DISTRIB_\w+=("[\w .+~()-]*"|[\w.+~-]*)`)},
	}
}

type hostFile struct {
	pattern string
	check   check
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

// addHostFiles copies what hostFiles allows. Where that is nothing, the file is
// left out: a missing piece of configuration is a smaller evil than a leaked one. It
// returns the files of packages that are left out since they were changed.
func (t *tree) addHostFiles(hostRoot string) (changed []string, err error) {
	c := hostCopier{tree: t, hostRoot: hostRoot, digests: readDigests(hostRoot)}
	for _, f := range hostFiles(c.digests) {
		c.check = f.check
		matches, err := filepath.Glob(filepath.Join(hostRoot, "etc", f.pattern))
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			if err := filepath.WalkDir(m, c.visit); err != nil {
				return nil, err
			}
		}
	}
	t.addKeystore(hostRoot)
	t.dropDangling(hostRoot)
	return c.changed, nil
}

type hostCopier struct {
	tree     *tree
	hostRoot string
	check    check
	total    int64
	digests  digests
	changed  []string // See Base.
}

// visit looks at regular files that every user of the host may read, and takes
// links; those that lead nowhere in the base go in the end (see dropDangling).
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
		if err != nil {
			return nil
		}
		_, unchanged := c.digests.distributed(rel, data)
		data, ok := c.check(rel, data)
		if !ok {
			if c.digests["/"+rel] != "" && !unchanged {
				c.changed = append(c.changed, "/"+rel)
			}
			return nil
		}
		if c.total += int64(len(data)); c.total > maxHostTotal {
			return fmt.Errorf("more than %d bytes of configuration in %s", maxHostTotal, filepath.Dir(name))
		}
		c.tree.file(rel, fi.Mode().Perm()&0o755, string(data))
	}
	return nil
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
