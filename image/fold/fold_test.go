//go:build linux

package fold

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	. "github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/image/tree"
)

// onDisk is a file with a tar archive, as gVisor writes one.
func onDisk(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f
}

func archive(t testing.TB, files ...File) *os.File {
	t.Helper()
	data, err := Layer(append([]File{Dir("./")}, files...)...)
	if err != nil {
		t.Fatal(err)
	}
	return onDisk(t, data)
}

// image is the image of a tree, made of a layer over nothing.
func image(t testing.TB, files ...File) *os.File {
	t.Helper()
	tr := tree.New()
	if err := Upper(t.Context(), tr, archive(t, files...)); err != nil {
		t.Fatal(err)
	}
	return made(t, tr)
}

func made(t testing.TB, tr *tree.Tree) *os.File {
	t.Helper()
	tr.Finish()
	i, err := erofs.Make(t.Context(), tr, t.TempDir(), erofs.Options{ForGuest: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(i.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// list has a line for each file of an image: its path with what it is.
func list(t testing.TB, image io.ReaderAt) (lines []string) {
	t.Helper()
	first := map[erofs.Link]string{}
	if err := erofs.Walk(image, func(path string, file erofs.File, at int64) error {
		what := "/"
		switch file.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := io.ReadAll(io.NewSectionReader(image, at, file.Size))
			if err != nil {
				return err
			}
			what = "=" + string(content)
		case unix.S_IFLNK:
			what = "->" + file.Target
		}
		if file.Link != (erofs.Link{}) {
			if first[file.Link] == "" {
				first[file.Link] = path
			}
			what += " (" + first[file.Link] + ")"
		}
		if path != "" {
			lines = append(lines, path+what)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

// whiteout is what the layer has in place of a file that was removed, and opaque hides what the image has in a directory.
func whiteout(name string) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeChar}}
}

func opaqueDir(name string) File {
	return File{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}}}
}

func special(name string, kind byte) File {
	return File{Header: tar.Header{Name: name, Typeflag: kind, Mode: 0o600, Devmajor: 1, Devminor: 3}}
}

func TestALayerIsPutOverItsImage(t *testing.T) {
	root := []File{Regular("a", "1"), Dir("d"), Regular("d/f", "2"), Dir("d/e"), Regular("d/e/g", "3"), Symlink("l", "d"), Regular("h1", "4"), HardLink("h2", "h1")}
	same := []string{"a=1", "d/", "d/e/", "d/e/g=3", "d/f=2", "h1=4 (h1)", "h2=4 (h1)", "l->d"}
	without := func(out ...string) []string {
		return slices.DeleteFunc(slices.Clone(same), func(s string) bool { return slices.Contains(out, s) })
	}
	for name, c := range map[string]struct {
		layer []File
		want  []string
	}{
		"nothing":                   {nil, same},
		"a directory is as it was":  {[]File{Dir("./d/"), Dir("./d/e/")}, same},
		"a file is removed":         {[]File{whiteout("./a")}, without("a=1")},
		"a directory is removed":    {[]File{whiteout("./d")}, without("d/", "d/e/", "d/e/g=3", "d/f=2")},
		"within a directory":        {[]File{Dir("./d/"), whiteout("./d/e")}, without("d/e/", "d/e/g=3")},
		"what is not there":         {[]File{whiteout("./none")}, same},
		"a directory is another":    {[]File{opaqueDir("./d/"), Regular("./d/new", "5")}, append(without("d/e/", "d/e/g=3", "d/f=2"), "d/new=5")},
		"its files may come later":  {[]File{opaqueDir("./d/"), Dir("./d/e/"), Regular("./d/e/g", "5")}, append(without("d/e/g=3", "d/f=2"), "d/e/g=5")},
		"a file is a directory":     {[]File{opaqueDir("./a/"), Regular("./a/in", "5")}, append(without("a=1"), "a/", "a/in=5")},
		"a directory is a file":     {[]File{Regular("./d", "5")}, append(without("d/", "d/e/", "d/e/g=3", "d/f=2"), "d=5")},
		"a link is a directory":     {[]File{opaqueDir("./l/"), Regular("./l/f", "5")}, append(without("l->d"), "l/", "l/f=5")},
		"a directory is a link":     {[]File{Symlink("./d", "/else")}, append(without("d/", "d/e/", "d/e/g=3", "d/f=2"), "d->/else")},
		"a file is changed":         {[]File{Regular("./a", "5")}, append(without("a=1"), "a=5")},
		"a name of a file of two":   {[]File{Regular("./h1", "5")}, append(without("h1=4 (h1)", "h2=4 (h1)"), "h1=5", "h2=4")},
		"another name of a file":    {[]File{Regular("./h1", "4"), HardLink("./h3", "./h1")}, append(without("h1=4 (h1)", "h2=4 (h1)"), "h1=4 (h1)", "h2=4", "h3=4 (h1)")},
		"a hard link of the layer":  {[]File{Dir("./n/"), Regular("./n/x", "5"), HardLink("./n/y", "./n/x")}, append(slices.Clone(same), "n/", "n/x=5 (n/x)", "n/y=5 (n/x)")},
		"a name like a whiteout":    {[]File{Regular("./.wh.a", ""), Regular("./d/.wh..wh..opq", "")}, append(slices.Clone(same), ".wh.a=", "d/.wh..wh..opq=")},
		"a device hides a file":     {[]File{special("./a", tar.TypeChar)}, without("a=1")},
		"a pipe hides a file":       {[]File{special("./a", tar.TypeFifo), HardLink("./b", "./a")}, without("a=1")},
		"odd names":                 {[]File{Regular("./bad\xff\n", "5"), Dir("./d\xfe/"), Regular("./d\xfe/in", "")}, append(slices.Clone(same), "bad\xff\n=5", "d\xfe/", "d\xfe/in=")},
		"an attribute of no effect": {[]File{{Header: tar.Header{Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "x"}}}}, same},
		"an attribute of the guest": {[]File{{Header: tar.Header{Name: "./d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.user.overlay.opaque": "y"}}}}, same},
	} {
		t.Run(name, func(t *testing.T) {
			tr := tree.New()
			if err := Lower(t.Context(), tr, image(t, root...)); err != nil {
				t.Fatal(err)
			}
			if err := Upper(t.Context(), tr, archive(t, c.layer...)); err != nil {
				t.Fatal(err)
			}
			got := list(t, made(t, tr))
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestModesOwnersAndTimesAreKept(t *testing.T) {
	exact := time.Unix(1_700_000_001, 600_000_000)
	owned := tar.Header{Name: "./f", Typeflag: tar.TypeReg, Mode: 0o4711, Uid: 4_000_000_000, Gid: 70000, ModTime: exact, Format: tar.FormatPAX}
	rounded := owned
	rounded.Format, rounded.Name = tar.FormatUnknown, "./r" // As gVisor writes it.
	old := tar.Header{Name: "./old", Typeflag: tar.TypeReg, Mode: 0o600, ModTime: time.Unix(-1000, 0)}
	tr := tree.New()
	if err := Upper(t.Context(), tr, archive(t, File{Header: owned}, File{Header: rounded}, File{Header: old})); err != nil {
		t.Fatal(err)
	}
	record := func(path string, nanoseconds int64) []byte {
		return binary.BigEndian.AppendUint64(append([]byte(path), 0), uint64(nanoseconds))
	}
	// What does not fit the time that is there is not believed.
	times := slices.Concat(record("/r", exact.UnixNano()), record("/none", exact.UnixNano()), record("/old", exact.UnixNano()), record("/f", exact.Add(time.Second).UnixNano()))
	if err := Times(t.Context(), tr, bytes.NewReader(times)); err != nil {
		t.Fatal(err)
	}
	if err := erofs.Walk(made(t, tr), func(path string, f erofs.File, _ int64) error {
		switch {
		case path == "f" && (f.Mode != unix.S_IFREG|0o4711 || f.UID != 4_000_000_000 || f.GID != 70000 || !f.Modified.Equal(exact)),
			path == "r" && !f.Modified.Equal(exact), path == "old" && f.Modified.Unix() != -1000:
			return fmt.Errorf("%s is %+v", path, f)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	for _, damaged := range [][]byte{[]byte("/r"), []byte("/r\x00short"), slices.Concat(record("/r", 1), []byte(strings.Repeat("x", 100_000)))} {
		if err := Times(t.Context(), tr, bytes.NewReader(damaged)); err == nil {
			t.Errorf("%.20q is taken", damaged)
		}
	}
}

func TestHostileLayersAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files []File
		want  string
	}{
		"up":              {[]File{Regular("../x", "")}, "must not contain"},
		"a hard link up":  {[]File{HardLink("./x", "../../etc/shadow")}, "must not contain"},
		"below a file":    {[]File{Regular("./a", ""), Regular("./a/x", "")}, "not a directory"},
		"depth":           {[]File{Dir(strings.Repeat("d/", 300))}, "deep"},
		"a long name":     {[]File{Regular(strings.Repeat("n", 300), "")}, "255 bytes"},
		"a long target":   {[]File{Symlink("x", strings.Repeat("n", 5000))}, "4095 bytes"},
		"the root a link": {[]File{Symlink("./", "x")}, "root must be a directory"},
		"an owner":        {[]File{{Header: tar.Header{Name: "x", Typeflag: tar.TypeReg, Uid: 1 << 33}}}, "32 bits"},
		"a link to a dir": {[]File{Dir("./d/"), HardLink("./x", "./d")}, "is a directory"},
		"an unknown type": {[]File{{Header: tar.Header{Name: "x", Typeflag: 'Q'}}}, "unknown type"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Upper(t.Context(), tree.New(), archive(t, c.files...)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if err := Upper(t.Context(), tree.New(), onDisk(t, []byte(strings.Repeat("no archive", 1000)))); err == nil {
		t.Error("what is not an archive is taken")
	}
	if err := Lower(t.Context(), tree.New(), strings.NewReader("no image")); err == nil {
		t.Error("what is not an image is taken")
	}
}

// FuzzUpper puts any bytes as a layer over a small tree: what comes out is a tree.
func FuzzUpper(f *testing.F) {
	for _, files := range [][]File{{Regular("./a", "x"), HardLink("./b", "./a")}, {Symlink("./l", "/.."), whiteout("./d")}, {opaqueDir("./d/"), Regular("./d/x", "")}} {
		data, err := Layer(files...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	root := image(f, Dir("d"), Regular("d/f", "content"), Symlink("l", "d"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := tree.New()
		if err := Lower(t.Context(), tr, root); err != nil {
			t.Fatal(err)
		}
		if Upper(t.Context(), tr, onDisk(t, data)) != nil || Times(t.Context(), tr, bytes.NewReader(data)) != nil {
			return
		}
		tr.Finish()
		if _, err := erofs.Make(t.Context(), tr, t.TempDir(), erofs.Options{ForGuest: true, MaxBytes: 1 << 30}); err != nil && !errors.Is(err, erofs.ErrTooLarge) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
}
