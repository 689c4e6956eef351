//go:build linux

package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/erofs"
	"github.com/rundlet/rundlet/image/oci"
	. "github.com/rundlet/rundlet/image/oci/ocitest"
	"github.com/rundlet/rundlet/image/tree"
)

func digest(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func opener(data []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// plain is a layer without compression.
func plain(t testing.TB, files ...File) oci.Layer {
	t.Helper()
	data, err := Layer(files...)
	if err != nil {
		t.Fatal(err)
	}
	return oci.Layer{Digest: digest(data), Size: int64(len(data)), DiffID: digest(data), Open: opener(data)}
}

// merge applies layers, and checks that nothing is left in the directory of the spool.
func merge(t testing.TB, limits Limits, all ...oci.Layer) (*tree.Tree, Skipped, error) {
	t.Helper()
	dir := t.TempDir()
	s, tr, skipped := NewSpool(dir, limits), tree.New(), Skipped{}
	for _, layer := range all {
		f, err := s.Get(t.Context(), layer)
		left, dirErr := os.ReadDir(dir)
		if dirErr != nil || len(left) > 0 {
			t.Errorf("left is %v, %v", left, dirErr)
		}
		if err != nil {
			return nil, skipped, err
		}
		t.Cleanup(func() { f.Close() })
		if err := s.Apply(t.Context(), tr, f, &skipped); err != nil {
			return nil, skipped, err
		}
	}
	tr.Finish()
	return tr, skipped, nil
}

// list returns the paths of a tree with contents and targets.
func list(t testing.TB, tr *tree.Tree, at string) (out []string) {
	t.Helper()
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
			out = append(append(out, path+"/"), list(t, tr, path)...)
		case unix.S_IFLNK:
			out = append(out, path+"->"+f.Target)
		case unix.S_IFREG:
			r, err := tr.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, path+"="+string(data))
		default:
			out = append(out, fmt.Sprintf("%s %o", path, f.Mode))
		}
	}
	slices.Sort(out)
	return out
}

func TestLayersAreMerged(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]File
		want   []string
	}{
		"later wins":      {[][]File{{Regular("a", "1")}, {Regular("a", "2")}}, []string{"a=2"}},
		"within a layer":  {[][]File{{Regular("a", "1"), Regular("./a", "2")}}, []string{"a=2"}},
		"absolute":        {[][]File{{Regular("/etc/passwd", "guest's")}}, []string{"etc/", "etc/passwd=guest's"}},
		"file and dir":    {[][]File{{Regular("a", "1")}, {Dir("a"), Regular("a/b", "2")}}, []string{"a/", "a/b=2"}},
		"dir and file":    {[][]File{{Regular("a/b", "1")}, {Regular("a", "2")}}, []string{"a=2"}},
		"dir and dir":     {[][]File{{Regular("a/b", "1")}, {Dir("a/")}}, []string{"a/", "a/b=1"}},
		"dir and link":    {[][]File{{Regular("a/b", "1")}, {Symlink("a", "c")}}, []string{"a->c"}},
		"through a link":  {[][]File{{Dir("usr/lib"), Symlink("lib", "usr/lib")}, {Regular("lib/x", "1")}}, []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/x=1"}},
		"escaping link":   {[][]File{{Symlink("out", "../../../../../etc")}, {Regular("out/x", "1")}}, []string{"etc/", "etc/x=1", "out->../../../../../etc"}},
		"whiteout":        {[][]File{{Regular("a", ""), Regular("d/b", "")}, {Regular(".wh.a", ""), Regular("d/.wh.b", "")}}, []string{"d/"}},
		"of a dir":        {[][]File{{Regular("d/a/b", "")}, {Regular(".wh.d", ""), Regular("d/new", "")}}, []string{"d/", "d/new="}},
		"after new files": {[][]File{{Regular("d/a", "")}, {Regular("d/new", ""), Regular("d/.wh..wh..opq", "")}}, []string{"d/", "d/new="}},
		"through links":   {[][]File{{Regular("d/a", ""), Symlink("l", "d")}, {Regular("l/.wh.a", "")}}, []string{"d/", "l->d"}},
		"of nothing":      {[][]File{{Regular(".wh.a", ""), Regular("none/.wh.b", "")}}, nil},
		"of its layer":    {[][]File{{Regular("a", "1"), Regular(".wh.a", "")}}, []string{"a=1"}},
		"and again":       {[][]File{{Regular("a", "1")}, {Regular(".wh.a", "")}, {Regular("a", "3")}}, []string{"a=3"}},
		"meta":            {[][]File{{Dir(".wh..wh.plnk"), Regular(".wh..wh.aufs", "")}}, nil},
		"of a hard link":  {[][]File{{Regular("a", "1"), HardLink("b", "a")}, {Regular(".wh.a", "")}}, []string{"b=1"}},
		"link over layer": {[][]File{{Regular("a", "1")}, {HardLink("b", "/a")}, {Regular("a", "2")}}, []string{"a=2", "b=1"}},
		"link of a link":  {[][]File{{Symlink("a", "x"), HardLink("b", "a")}}, []string{"a->x", "b->x"}},
		"fifo":            {[][]File{{{Header: tar.Header{Name: "f", Typeflag: tar.TypeFifo, Mode: 0o600}}}}, []string{"f 10600"}},
		"devices": {[][]File{{Regular("dev/null", "file")}, {{Header: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar}},
			{Header: tar.Header{Name: "sda", Typeflag: tar.TypeBlock}}}}, []string{"dev/"}},
	} {
		t.Run(name, func(t *testing.T) {
			var all []oci.Layer
			for _, files := range c.layers {
				all = append(all, plain(t, files...))
			}
			tr, skipped, err := merge(t, Limits{}, all...)
			if err != nil {
				t.Fatal(err)
			}
			if got := list(t, tr, ""); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if (name == "devices") != (skipped.Devices == 2) {
				t.Errorf("skipped %+v", skipped)
			}
			if _, err := erofs.Make(t.Context(), tr, t.TempDir(), erofs.Options{ForGuest: true}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatAnImageKeepsOfAFile(t *testing.T) {
	h := tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 5, Gid: 70000, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}
	tr, skipped, err := merge(t, Limits{}, plain(t, File{Header: h, Content: "x"}))
	if err != nil {
		t.Fatal(err)
	}
	f, err := tr.Stat("f")
	if err != nil || f.Mode != unix.S_IFREG|0o4755 || f.UID != 5 || f.GID != 70000 || f.Attributes != nil || f.Modified.Unix() != 1_700_000_000 || skipped.Attributes != 1 {
		t.Errorf("%+v, %v, skipped %+v", f, err, skipped)
	}
}

func TestHostileLayersAreRefused(t *testing.T) {
	header := func(h tar.Header) []File { return []File{{Header: h}} }
	many := make([]File, 101)
	for i := range many {
		many[i] = Dir(fmt.Sprint(i))
	}
	for name, c := range map[string]struct {
		files []File
		want  string
	}{
		"up":             {[]File{Regular("../x", "")}, `"../x": the path must not contain ".."`},
		"up within":      {[]File{Regular("a/../../x", "")}, `must not contain ".."`},
		"up to a dir":    {[]File{Dir("a/..")}, `must not contain ".."`},
		"whiteout up":    {[]File{Regular("a/../.wh.x", "")}, `must not contain ".."`},
		"whiteout of up": {[]File{Regular("a/.wh...", "")}, "must name a file"},
		"empty whiteout": {[]File{Regular(".wh.", "")}, "must name a file"},
		"hard link up":   {[]File{HardLink("x", "../../etc/shadow")}, `must not contain ".."`},
		"hard link":      {[]File{HardLink("x", "/etc/shadow")}, "file does not exist"},
		"to itself":      {[]File{HardLink("x", "x")}, "file does not exist"},
		"to a directory": {[]File{Dir("d"), HardLink("x", "d")}, "is a directory"},
		"link to itself": {[]File{Symlink("a", "a"), Regular("a/x", "")}, "too many symbolic links"},
		"links in turn":  {[]File{Symlink("a", "b"), Symlink("b", "a"), Regular("a/x", "")}, "too many symbolic links"},
		"below a file":   {[]File{Regular("a", ""), Regular("a/x", "")}, "not a directory"},
		"depth":          {[]File{Dir(strings.Repeat("d/", 300))}, "deep"},
		"long name":      {[]File{Regular(strings.Repeat("n", 300), "")}, "255 bytes"},
		"long path":      {[]File{Dir(strings.Repeat("nnnnnnnnn/", 500))}, "4096 bytes"},
		"long target":    {[]File{Symlink("x", strings.Repeat("n", 5000))}, "4095 bytes"},
		"root is a file": {header(tar.Header{Name: "./", Typeflag: tar.TypeSymlink, Linkname: "x"}), "the root must be a directory"},
		"entries":        {many, "more than 100 entries"},
		"bytes":          {[]File{Regular("big", strings.Repeat("x", 1<<20))}, "more than 1000000 bytes"},
		"owner":          {header(tar.Header{Name: "x", Typeflag: tar.TypeReg, Uid: 1 << 33}), "must be numbers"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := merge(t, Limits{Bytes: 1_000_000, Entries: 100}, plain(t, c.files...))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestATarThatIsNotOne(t *testing.T) {
	data := bytes.Repeat([]byte("not a layer"), 1000)
	if _, _, err := merge(t, Limits{}, oci.Layer{DiffID: digest(data), Open: opener(data)}); err == nil {
		t.Error("no error")
	}
	whole, err := Layer(Regular("a", strings.Repeat("x", 5000)))
	if err != nil {
		t.Fatal(err)
	}
	cut := whole[:2000]
	if _, _, err := merge(t, Limits{}, oci.Layer{DiffID: digest(cut), Open: opener(cut)}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a layer that is cut: %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	layer := plain(t, Regular("a", "x"))
	dir := t.TempDir()
	s := NewSpool(dir, Limits{})
	f, err := s.Get(ctx, layer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel(nil)
	if err := s.Apply(ctx, tree.New(), f, &Skipped{}); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v", err)
	}
	if _, err := s.Get(ctx, layer); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left is %v, %v", left, err)
	}
}
