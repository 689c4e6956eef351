//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/agent/account"
)

var (
	ann = account.User{Name: "ann", UID: 4242, GID: 4343}
	// then is the time of all entries.
	then = time.Date(2020, 2, 2, 2, 2, 2, 0, time.UTC)
)

// header makes an entry of "name", "name/", "name -> link" or "name => hard link", with an octal mode after a space if it
// is not 644 or 755.
func header(text string) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, ModTime: then, Uid: 7, Gid: 7}
	name, to, soft := strings.Cut(text, " -> ")
	if name, mode, special := strings.Cut(name, " "); special {
		fmt.Sscanf(mode, "%o", &h.Mode)
		text = name
	} else if strings.HasSuffix(name, "/") {
		h.Mode = 0o755
	}
	h.Name = text
	switch {
	case soft:
		h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeSymlink
	case strings.HasSuffix(text, "/"):
		h.Typeflag = tar.TypeDir
	default:
		if name, to, hard := strings.Cut(name, "=>"); hard {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeLink
		}
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(contents(h.Name)))
	}
	return h
}

// contents are those of a file.
func contents(name string) string { return "<" + name + ">" }

// pack makes an archive of entries.
func pack(t testing.TB, entries ...string) []byte {
	t.Helper()
	var headers []*tar.Header
	for _, e := range entries {
		headers = append(headers, header(e))
	}
	return packed(t, headers...)
}

func packed(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		must(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(contents(h.Name)))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

// tempRoot is a directory of root's.
func tempRoot(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the agent is root in its guest; run these tests as root")
	}
	return t.TempDir()
}

// populate makes "dir/", "file", and "link -> target" below root.
func populate(t testing.TB, root string, names ...string) {
	t.Helper()
	for _, text := range names {
		name, to, link := strings.Cut(text, " -> ")
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case link:
			must(t, os.Symlink(to, path))
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		default:
			must(t, os.WriteFile(path, []byte("old"), 0o600))
		}
	}
}

// look describes what is below root: the mode, "old" or contents, and "root" where it is not ann's.
func look(t testing.TB, root string) []string {
	t.Helper()
	seen := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		text := ""
		switch {
		case d.IsDir():
			name += "/"
			if info.Mode().Perm() != 0o755 || info.Mode()&^(fs.ModeDir|fs.ModePerm) != 0 {
				text += fmt.Sprintf(" %v", info.Mode())
			}
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			must(t, err)
			text += " -> " + to
		default:
			b, err := os.ReadFile(path)
			must(t, err)
			if info.Mode() != 0o644 && string(b) != "old" {
				text += fmt.Sprintf(" %v", info.Mode())
			}
			if text += " " + string(b); string(b) != "old" && !info.ModTime().Equal(then) {
				text += " now"
			}
		}
		switch st := info.Sys().(*syscall.Stat_t); {
		case st.Uid == 0 && st.Gid == 0:
			text += " root"
		case st.Uid != ann.UID || st.Gid != ann.GID:
			text += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
		}
		seen[name] = name + text
		return nil
	}))
	return slices.Sorted(maps.Values(seen))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
