//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whatever three entries are, and whatever is copied of them: nothing outside the destination changes, and what fails
// leaves nothing.
func FuzzEntries(f *testing.F) {
	f.Add("l", "/", byte(tar.TypeSymlink), "l/x", "", byte(tar.TypeReg), "h", "l/outside", byte(tar.TypeLink), ".")
	f.Add("d/", "", byte(tar.TypeDir), "d/l", "../../..", byte(tar.TypeSymlink), "d/l/outside/f", "", byte(tar.TypeReg), "d/*")
	f.Add("a", "", byte(tar.TypeReg), "a/../../outside", "", byte(tar.TypeReg), "b", "../../outside", byte(tar.TypeLink), "{a,b}")
	f.Fuzz(func(t *testing.T, name1, link1 string, kind1 byte, name2, link2 string, kind2 byte, name3, link3 string, kind3 byte, source string) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, h := range []*tar.Header{
			{Name: name1, Linkname: link1, Typeflag: kind1, Mode: 0o4777},
			{Name: name2, Linkname: link2, Typeflag: kind2}, {Name: name3, Linkname: link3, Typeflag: kind3, Mode: 0o600},
		} {
			if err := w.WriteHeader(h); err != nil {
				return // No archive has it.
			}
		}
		must(t, w.Close())
		attempt(t, archive.Bytes(), source)
	})
}

// The same of any bytes, compressed or not.
func FuzzArchive(f *testing.F) {
	f.Add(pack(f, "d/", "d/a", "d/l -> a", "d/h=>d/a"), "d")
	f.Add(zipped(f, pack(f, "a")), "*")
	f.Fuzz(func(t *testing.T, archive []byte, source string) { attempt(t, archive, source) })
}

func attempt(t *testing.T, archive []byte, source string) {
	root := tempRoot(t)
	populate(t, root, "outside/f", "in/old")
	err := Copy(bytes.NewReader(archive), Request{Source: source, Destination: root + "/in/x/", Into: true, Owner: ann})
	var outside []string
	for _, line := range look(t, root) {
		if err != nil || !strings.HasPrefix(line, "in/x") {
			outside = append(outside, line)
		}
	}
	if want := []string{"in/ root", "in/old old root", "outside/ root", "outside/f old root"}; !slices.Equal(outside, want) {
		t.Errorf("there is %q after %v", outside, err)
	}
	if err == nil {
		must(t, filepath.WalkDir(root+"/in/x", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if info, err := d.Info(); err != nil || info.Mode()&(os.ModeDevice|os.ModeNamedPipe|os.ModeSetuid) != 0 {
				t.Errorf("%s is %v, %v", path, info.Mode(), err)
			}
			return nil
		}))
	}
}

// A source never means anything outside of the archive.
func FuzzSource(f *testing.F) {
	for _, text := range []string{".", "a/../b", `\*/x`, "d/**/*.py", "@(a)", `a\`, "../x", "[", `[/.\./x`, "a/{b/../..}/../../c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text)
		if (err == nil) != (s.literal != "" || s.pattern != "") {
			t.Errorf("%+v, %v", s, err)
		}
		for _, name := range []string{s.literal, s.pattern} {
			if name != "" && (!filepath.IsLocal(name) || filepath.Clean(name) != name) {
				t.Errorf("%+v", s)
			}
		}
	})
}
