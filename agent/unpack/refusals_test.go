//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// What cannot be copied changes nothing, leaves nothing, and says what is wrong in one line.
func TestRefusals(t *testing.T) {
	file := pack(t, "a")
	deep := pack(t, strings.Repeat("d/", maxDepth)+"f")
	special := func(kind byte) []byte { return packed(t, &tar.Header{Name: "a", Typeflag: kind}) }
	for _, tt := range []struct {
		name    string
		archive []byte
		source  string
		dest    string
		want    string
	}{
		// The source.
		{"no source", file, "", "x", `the source must be a path in the build's context`},
		{"absolute source", file, "/a", "x", `the source must be a path in the build's context`},
		{"source outside", file, "a/../../b", "x", `the source must be a path in the build's context`},
		{"source outside, escaped", file, `.\./a`, "x", `the source must be a path in the build's context`},
		{"source that is not there", file, "b", "x", `no files matched "b"`},
		{"pattern in a directory that is not there", file, "d/*", "x", `no files matched "d/*"`},
		{"pattern in a file", file, "a/*", "x", `no files matched "a/*"`},
		{"nothing at all", pack(t), ".", "x", `no files matched "."`},
		{"source behind a link", pack(t, "l -> ."), "l/*", "x", `no files matched "l/*"`},
		// The destination.
		{"file over a directory", file, ".", "over", `"TEMP/over/a" is a directory, and what is copied there is a file`},
		{"directory over a file", pack(t, "f/", "f/a"), ".", "", `"TEMP/f" is not a directory, and what is copied there is one`},
		{"directory over a file itself", pack(t, "d/"), "d", "f", `"TEMP/f" is not a directory, and what is copied there is one`},
		{"directory over a link to nothing", pack(t, "d/"), "d", "dangling", `write "TEMP/dangling": not a directory`},
		{"file below a file", file, "a", "f/x/y", `make "TEMP/f/x": not a directory`},
		{"file into a directory of a link to nothing", file, "a", "dangling/", `make "TEMP/dangling": no such file or directory`},
		// The archive.
		{"parent", pack(t, "../a"), ".", "x", `the archive has an entry outside of it: "../a"`},
		{"parent behind a directory", pack(t, "d/../../a"), ".", "x", `the archive has an entry outside of it: "d/../../a"`},
		{"absolute path", pack(t, "/a"), ".", "x", `the archive has an entry outside of it: "/a"`},
		{"no path", packed(t, &tar.Header{Typeflag: tar.TypeDir}), ".", "x", `the archive has an entry outside of it: ""`},
		{"through a link", pack(t, "l -> /", "l/tmp/a"), ".", "x", `unpack "l/tmp/a": "l" is not a directory in the archive`},
		{"through a link of the archive", pack(t, "d/", "l -> d", "l/a"), ".", "x", `unpack "l/a": "l" is not a directory in the archive`},
		{"through links in turn", pack(t, "d/", "d/l -> ..", "m -> d/l/..", "m/a"), ".", "x", `unpack "m/a": "m" is not a directory in the archive`},
		{"directory on a link", pack(t, "l -> /etc", "l/"), ".", "x", `unpack "l": "l" is not a directory in the archive`},
		{"file on a link", pack(t, "l -> /etc/passwd", "l"), ".", "x", `the archive has "l" twice`},
		{"file twice", pack(t, "a", "./a"), ".", "x", `the archive has "a" twice`},
		{"file on a directory", pack(t, "a/", "a"), ".", "x", `the archive has "a" twice`},
		{"link on a directory", pack(t, "a/", "a -> b"), ".", "x", `the archive has "a" twice`},
		{"file in place of the context", packed(t, &tar.Header{Name: ".", Typeflag: tar.TypeSymlink, Linkname: "/"}), ".", "x", `the archive has "." twice`},
		{"below a file", pack(t, "a", "a/b"), ".", "x", `unpack "a/b": "a" is not a directory in the archive`},
		{"hard link outside", pack(t, "h=>../outside"), ".", "x", `unpack "h": it is a hard link to "../outside", which is not a file of the archive`},
		{"absolute hard link", pack(t, "h=>/etc/passwd"), ".", "x", `unpack "h": it is a hard link to "/etc/passwd", which is not a file of the archive`},
		{"hard link to a directory", pack(t, "d/", "h=>d"), ".", "x", `unpack "h": it is a hard link to "d", which is not a file of the archive`},
		{"hard link through a link", pack(t, "l -> /etc", "h=>l/passwd"), ".", "x", `unpack "h": it is a hard link to "l/passwd", which is not a file before it in the archive: path escapes from parent`},
		{"hard link to a later file", pack(t, "h=>a", "a"), ".", "x", `unpack "h": it is a hard link to "a", which is not a file before it in the archive: no such file or directory`},
		{"hard link on a file", pack(t, "a", "h", "h=>a"), ".", "x", `the archive has "h" twice`},
		{"character device", special(tar.TypeChar), ".", "x", `unpack "a": it is neither an ordinary file nor a directory nor a link`},
		{"block device", special(tar.TypeBlock), ".", "x", `unpack "a": it is neither an ordinary file nor a directory nor a link`},
		{"FIFO", special(tar.TypeFifo), ".", "x", `unpack "a": it is neither an ordinary file nor a directory nor a link`},
		{"sparse file", sparseFile(t, "--format=gnu"), ".", "x", `unpack "a": it is neither an ordinary file nor a directory nor a link`},
		{"sparse file in PAX form", sparseFile(t, "--format=pax"), ".", "x", `unpack "a": it is neither an ordinary file nor a directory nor a link`},
		{"too deep", deep, ".", "x", `the archive has an entry below more than 256 directories`},
		{"long name", pack(t, strings.Repeat("n", 256)), ".", "x", `file name too long`},
		{"name of two lines", pack(t, "a\n/etc:\x1b[1m", "a\n/etc:\x1b[1m"), ".", "x", `the archive has "a\n/etc:\x1b[1m" twice`},
		{"not an archive", []byte(strings.Repeat("not a tar archive", 100)), ".", "x", `read the archive: archive/tar: invalid tar header`},
		{"not an archive, compressed", zipped(t, bytes.Repeat([]byte("no"), 1000)), ".", "x", `read the archive: archive/tar: invalid tar header`},
		{"empty", nil, ".", "x", `read the archive: unexpected EOF`},
		{"cut in a header", file[:100], "a", "x", `read the archive: unexpected EOF`},
		{"cut before the contents", file[:512], "a", "x", `read the archive: unexpected EOF`},
		{"cut after the contents", file[:1024], "a", "x", `read the archive: unexpected EOF`},
		{"cut in its end", file[:1536], "a", "x", `read the archive: unexpected EOF`},
		{"cut in its checksum", zipped(t, file)[:len(zipped(t, file))-5], "a", "x", `read the archive: unexpected EOF`},
		{"wrong checksum", append(zipped(t, file)[:len(zipped(t, file))-8], 0, 0, 0, 0, 0, 0, 0, 0), "a", "x", `read the archive: gzip: invalid checksum`},
		{"cut in the header of its compression", zipped(t, file)[:5], "a", "x", `read the archive: `},
		{"goes on after its end", append(slices.Clone(file), make([]byte, maxPadding+1)...), "a", "x", `read the archive: there is more after its end`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := tempRoot(t)
			populate(t, root, "outside", "f", "over/a/", "dangling -> nowhere")
			before := look(t, root)
			err := Copy(bytes.NewReader(tt.archive), Request{Source: tt.source, Destination: root + "/" + tt.dest, Into: strings.HasSuffix(tt.dest, "/"), Owner: ann})
			if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(tt.want, "TEMP", root)) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q", err)
			}
			if got := look(t, root); !slices.Equal(got, before) {
				t.Errorf("there is %q", got)
			}
		})
	}
}

// sparseFile is an archive of a hole, which only tar(1) makes.
func sparseFile(t *testing.T, format string) []byte {
	t.Helper()
	path := t.TempDir() + "/a"
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, 1<<20))
	b, err := exec.Command("tar", "-cS", format, "-C", filepath.Dir(path), "a").Output()
	must(t, err)
	return b
}

// A reader that fails is reported, and leaves nothing, whether it fails in a header, in contents or after them.
func TestAnArchiveThatBreaksOffLeavesNothing(t *testing.T) {
	archive := pack(t, "d/", "d/a", "d/l -> a", "d/h=>d/a", "e/f")
	for _, archive := range [][]byte{archive, zipped(t, archive)} {
		root := tempRoot(t)
		for n := 0; n < len(archive); n += max(1, len(archive)/300) {
			for _, broken := range []error{io.ErrUnexpectedEOF, os.ErrDeadlineExceeded} {
				err := Copy(io.MultiReader(bytes.NewReader(archive[:n]), iotest.ErrReader(broken)), Request{Source: ".", Destination: root + "/x/y/", Owner: ann})
				var invalid *InvalidError
				if !errors.Is(err, broken) || !errors.As(err, &invalid) {
					t.Fatalf("after %d bytes: %v", n, err)
				}
				if got := look(t, root); len(got) != 0 {
					t.Fatalf("after %d bytes there is %q", n, got)
				}
			}
		}
	}
}

// A disk without room, and one without inodes, are said to be so, and a bomb fills none for long.
func TestAFullDisk(t *testing.T) {
	zeros := tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 1 << 30}
	var bomb bytes.Buffer
	w := tar.NewWriter(&bomb)
	must(t, w.WriteHeader(&zeros))
	var many []string
	for i := range 100 {
		many = append(many, strings.Repeat("d/", i)+"f", strings.Repeat("e", i+1)+" -> x", strings.Repeat("h", i+1)+"=>f")
	}
	links := []string{"f"}
	for i := range 200 {
		links = append(links, strings.Repeat("h", i+1)+"=>f")
	}
	for name, archive := range map[string]io.Reader{
		"many hard links": bytes.NewReader(pack(t, links...)),
		"a large file":    io.MultiReader(&bomb, io.LimitReader(zeroes{}, zeros.Size)),
		"many entries":    bytes.NewReader(pack(t, many...)),
	} {
		root := tempRoot(t)
		must(t, syscall.Mount("tmpfs", root, "tmpfs", 0, "size=1m,nr_inodes=100,mode=0755"))
		err := Copy(archive, Request{Source: ".", Destination: root, Owner: ann})
		var invalid *InvalidError
		if !errors.Is(err, syscall.ENOSPC) || errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if got := look(t, root); len(got) != 0 {
			t.Errorf("%s: there is %q", name, got)
		}
		must(t, syscall.Unmount(root, 0))
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }
