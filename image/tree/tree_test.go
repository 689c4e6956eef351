//go:build linux

package tree

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
)

func put(t *testing.T, tr *Tree, path string, mode uint32, content string) {
	t.Helper()
	file := erofs.File{Mode: mode, Size: int64(len(content))}
	if mode&unix.S_IFMT == unix.S_IFLNK {
		file.Target, file.Size = content, 0
	}
	if err := tr.Put(path, file, Content{At: strings.NewReader(content)}); err != nil {
		t.Fatalf("put %s: %v", path, err)
	}
}

const (
	regular = unix.S_IFREG | 0o644
	dir     = unix.S_IFDIR | 0o755
	link    = unix.S_IFLNK | 0o777
)

// all returns the paths of a tree, with contents and targets.
func all(t *testing.T, tr *Tree) (out []string) {
	t.Helper()
	var walk func(string)
	walk = func(at string) {
		names, err := tr.Names(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path := strings.TrimPrefix(at+"/"+name, "/")
			f, err := tr.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			switch f.Mode & unix.S_IFMT {
			case unix.S_IFDIR:
				out = append(out, path+"/")
				walk(path)
			case unix.S_IFLNK:
				out = append(out, path+"->"+f.Target)
			default:
				r, err := tr.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(r)
				if err = errors.Join(err, r.Close()); err != nil {
					t.Fatal(err)
				}
				out = append(out, path+"="+string(data))
			}
		}
	}
	walk("")
	slices.Sort(out)
	return out
}

func TestFilesReplaceEachOther(t *testing.T) {
	tr := New()
	put(t, tr, "a/b/file", regular, "1")
	put(t, tr, "dir", dir, "")
	put(t, tr, "dir/kept", regular, "2")
	put(t, tr, "./dir/", unix.S_IFDIR|0o700, "")
	put(t, tr, "/a/b", regular, "3") // A file replaces a directory.
	put(t, tr, "a/b", dir, "")       // And the other way round.
	put(t, tr, "way", link, "/dir")  // A file below a link
	put(t, tr, "way/through", regular, "4")
	put(t, tr, "dir/up", link, "../../../dir/../other") // leads nowhere outside.
	put(t, tr, "dir/up/made", regular, "5")
	want := []string{"a/", "a/b/", "dir/", "dir/kept=2", "dir/through=4", "dir/up->../../../dir/../other", "other/", "other/made=5", "way->/dir"}
	if got := all(t, tr); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if f, err := tr.Stat("dir"); err != nil || f.Mode != unix.S_IFDIR|0o700 {
		t.Errorf("dir is %o, %v", f.Mode, err)
	}
	if data, err := tr.ReadFile("way/kept", 10); string(data) != "2" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

func TestWhiteoutsHideLowerLayersOnly(t *testing.T) {
	tr := New()
	for _, path := range []string{"d/low", "d/sub/low", "e/low", "f", "g"} {
		put(t, tr, path, regular, "")
	}
	if err := tr.Link("g2", "g"); err != nil {
		t.Fatal(err)
	}
	tr.NextLayer()
	put(t, tr, "d/sub/new", regular, "")
	put(t, tr, "e/new", regular, "")
	put(t, tr, "h", regular, "")
	for _, path := range []string{"d", "f", "g", "h", "none", "none/none", "f/below"} {
		if err := tr.Hide(path); err != nil {
			t.Errorf("hide %s: %v", path, err)
		}
	}
	for range 2 {
		if err := errors.Join(tr.HideAll("e"), tr.HideAll("none")); err != nil {
			t.Error(err)
		}
	}
	want := []string{"d/", "d/sub/", "d/sub/new=", "e/", "e/new=", "g2=", "h="}
	if got := all(t, tr); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestNamesOfOneFile(t *testing.T) {
	tr := New()
	put(t, tr, "a", regular, "x")
	put(t, tr, "single", regular, "y")
	put(t, tr, "d", link, "/")
	for _, to := range []string{"b", "sub/c"} {
		if err := tr.Link(to, "/d/a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if n := tr.Finish(); n != 5 {
		t.Errorf("%d names", n)
	}
	b, errB := tr.Stat("b")
	c, errC := tr.Stat("sub/c")
	single, err := tr.Stat("single")
	if err = errors.Join(err, errB, errC); err != nil || b.Link != c.Link || b.Link == (erofs.Link{}) || single.Link != (erofs.Link{}) {
		t.Errorf("%v %v %v, %v", b.Link, c.Link, single.Link, err)
	}
}

func TestRefusedPaths(t *testing.T) {
	tr := New()
	put(t, tr, "file", regular, "")
	put(t, tr, "dir", dir, "")
	put(t, tr, "loop", link, "loop")
	for name, err := range map[string]error{
		"up":             tr.Put("a/../b", erofs.File{Mode: regular}, Content{}),
		"NUL":            tr.Put("a\x00", erofs.File{Mode: regular}, Content{}),
		"long name":      tr.Put(strings.Repeat("a", 256), erofs.File{Mode: regular}, Content{}),
		"long path":      tr.Put(strings.Repeat("a/", 2049), erofs.File{Mode: regular}, Content{}),
		"deep":           tr.Put(strings.Repeat("a/", 257), erofs.File{Mode: regular}, Content{}),
		"below a file":   tr.Put("file/x", erofs.File{Mode: regular}, Content{}),
		"below a loop":   tr.Put("loop/x", erofs.File{Mode: regular}, Content{}),
		"root":           tr.Put("/", erofs.File{Mode: regular}, Content{}),
		"no target":      tr.Put("x", erofs.File{Mode: link}, Content{}),
		"long target":    tr.Put("x", erofs.File{Mode: link, Target: strings.Repeat("x", 4096)}, Content{}),
		"negative size":  tr.Put("x", erofs.File{Mode: regular, Size: -1}, Content{}),
		"link to none":   tr.Link("x", "none"),
		"link to dir":    tr.Link("x", "dir"),
		"link up":        tr.Link("x", "../etc/passwd"),
		"link from up":   tr.Link("../x", "file"),
		"link from root": tr.Link("/", "file"),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := tr.ReadFile("none", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := tr.ReadFile("loop", 1); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("loop: %v", err)
	}
}

func TestLookupsAreBounded(t *testing.T) {
	tr := New()
	put(t, tr, "l", link, ".")
	tr.steps = maxSteps - 3
	err := tr.Put("l/l/l/f", erofs.File{Mode: regular}, Content{})
	if err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("error %v", err)
	}
}

// Links lead deeper than the paths that are put, and their targets have names of any length.
func TestWhatLinksLeadToIsBounded(t *testing.T) {
	deepest := func(most int, name string) (depth int, err error) {
		tr, at := New(), ""
		for range most {
			at += name + "/"
			if err := errors.Join(tr.Put("l", erofs.File{Mode: link, Target: at}, Content{}), tr.Put("l/x", erofs.File{Mode: regular}, Content{})); err != nil {
				return depth, err
			}
			depth++
		}
		return depth, nil
	}
	if depth, err := deepest(1000, "d"); err == nil || !strings.Contains(err.Error(), "more than 256 names deep") || depth != maxDepth-1 {
		t.Errorf("depth %d, %v", depth, err)
	}
	// Two links are longer together than one may be.
	tr := New()
	long := strings.Repeat("n", 200)
	target := strings.Repeat(long+"/", 15)
	put(t, tr, "a", link, target)
	put(t, tr, "a/x", regular, "")
	put(t, tr, target+"b", link, "./"+target)
	if err := tr.Put("a/b/x", erofs.File{Mode: regular}, Content{}); err == nil || !strings.Contains(err.Error(), "more than 4096 bytes") {
		t.Errorf("a long path: %v", err)
	}
	put(t, tr, "c", link, strings.Repeat("n", 300))
	if err := tr.Put("c/x", erofs.File{Mode: regular}, Content{}); err == nil || !strings.Contains(err.Error(), "more than 255 bytes") {
		t.Errorf("a long name: %v", err)
	}
	if _, err := erofs.Make(t.Context(), tr, t.TempDir(), erofs.Options{}); err != nil {
		t.Errorf("what is there is not an image: %v", err)
	}
}

// One entry of a layer makes many directories, and a target can have 4095 bytes: both are counted, not entries alone.
func TestNamesAndTargetsAreCounted(t *testing.T) {
	tr := New()
	deep := strings.Repeat("d/", maxDepth-1)
	put(t, tr, deep+"f", regular, "")
	put(t, tr, deep+"g", regular, "")
	if tr.names != maxDepth+1 {
		t.Errorf("%d names, want %d", tr.names, maxDepth+1)
	}
	put(t, tr, "l", link, strings.Repeat("t", 4000))
	if tr.text < 4000+maxDepth {
		t.Errorf("%d bytes", tr.text)
	}
	tr.names = maxNames - 2
	put(t, tr, "a/b", regular, "")
	for what, err := range map[string]error{
		"file": tr.Put("c", erofs.File{Mode: regular}, Content{}), "directory": tr.Put("x/y", erofs.File{Mode: regular}, Content{}), "hard link": tr.Link("h", "a/b"),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s beyond the last name: %v", what, err)
		}
	}
	tr.names, tr.text = 0, maxText-10
	if err := tr.Put("m", erofs.File{Mode: link, Target: strings.Repeat("t", 20)}, Content{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a target beyond the last byte: %v", err)
	}
}

// A name or a target may be a part of a string of a megabyte, which is not kept for it.
func TestNoLongerStringsAreKept(t *testing.T) {
	tr := New()
	record := "target" + strings.Repeat("x", 1000)
	put(t, tr, "name/"+strings.Repeat("x", 100), link, record[:6])
	within := func(part, whole string) bool {
		at, from := uintptr(unsafe.Pointer(unsafe.StringData(part))), uintptr(unsafe.Pointer(unsafe.StringData(whole)))
		return at >= from && at < from+uintptr(len(whole))
	}
	f, err := tr.Stat("name/" + strings.Repeat("x", 100))
	if err != nil || f.Target != "target" || within(f.Target, record) {
		t.Errorf("%+v, %v", f, err)
	}
	path := "whole/" + strings.Repeat("y", 100)
	put(t, tr, path, regular, "")
	for name := range tr.root.children {
		if within(name, path) {
			t.Errorf("%q keeps its path", name)
		}
	}
}

// FuzzPaths makes a tree of hostile paths and link targets: it stays a tree.
func FuzzPaths(f *testing.F) {
	f.Add("a/b", "c", "../a")
	f.Add("/a/./b//", "a/l", "/..")
	f.Fuzz(func(t *testing.T, file, name, target string) {
		tr := New()
		_ = tr.Put(file, erofs.File{Mode: regular}, Content{})
		_ = tr.Put(name, erofs.File{Mode: link, Target: target}, Content{})
		_ = tr.Put(name+"/"+file, erofs.File{Mode: regular}, Content{})
		_ = tr.Link(file+"2", name+"/"+file)
		tr.NextLayer()
		_ = tr.Hide(name + "/" + file)
		_ = tr.HideAll(name)
		tr.Finish()
		if _, err := erofs.Make(t.Context(), tr, t.TempDir(), erofs.Options{}); err != nil {
			t.Error(err)
		}
	})
}
