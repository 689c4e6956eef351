//go:build linux

package erofs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// walked returns what Walk visits of an image.
func walked(t testing.TB, r io.ReaderAt) (map[string]File, map[string]int64) {
	t.Helper()
	files, places := map[string]File{}, map[string]int64{}
	if err := Walk(r, func(path string, file File, content int64) error {
		if _, twice := files[path]; twice {
			t.Errorf("%q is visited twice", path)
		}
		files[path], places[path] = file, content
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return files, places
}

func TestWalkSeesTheTree(t *testing.T) {
	source := Dir(example(t))
	image := makeImage(t, source, Options{ForGuest: true})
	f, err := os.Open(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, places := walked(t, f)
	if len(files) != image.Files {
		t.Errorf("%d files are visited, want %d", len(files), image.Files)
	}
	for path, got := range files {
		want, err := source.Stat(path)
		if err != nil {
			t.Errorf("%q is not in the tree: %v", path, err)
			continue
		}
		if got.Mode != want.Mode || got.UID != want.UID || got.GID != want.GID || !got.Modified.Equal(want.Modified) || got.Target != want.Target ||
			(got.Link == Link{}) != (want.Link == Link{}) {
			t.Errorf("%q is\n%+v, want\n%+v", path, got, want)
		}
		switch want.Mode & unix.S_IFMT {
		case unix.S_IFCHR, unix.S_IFBLK:
			if got.Major != want.Major || got.Minor != want.Minor {
				t.Errorf("%q is device %d:%d, want %d:%d", path, got.Major, got.Minor, want.Major, want.Minor)
			}
		case unix.S_IFREG:
			r, err := source.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			r.Close()
			data, readErr := io.ReadAll(io.NewSectionReader(f, places[path], got.Size))
			if errors.Join(err, readErr) != nil || got.Size != want.Size || !bytes.Equal(data, content) {
				t.Errorf("%q has another content: %v, %v", path, err, readErr)
			}
		}
	}
	if files["size-100"].Link != files["dir/link"].Link || files["a/link"].Link != files["dir/link"].Link {
		t.Error("the names of one file are several files")
	}
}

func TestWalkEndsWithItsVisitor(t *testing.T) {
	image := makeImage(t, Dir(example(t)), Options{ForGuest: true})
	f, err := os.Open(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	enough, n := errors.New("enough"), 0
	if err := Walk(f, func(string, File, int64) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || n != 3 {
		t.Errorf("%v after %d files", err, n)
	}
}

// small is the image of a small tree.
func small(t testing.TB) []byte {
	t.Helper()
	source := hostile{map[string][]string{"": {"d", "f", "l"}, "d": {"in"}}, map[string]File{
		"f": {Mode: unix.S_IFREG | 0o644, Size: 7}, "l": {Mode: unix.S_IFLNK | 0o777, Target: "f"}, "d/in": {Mode: unix.S_IFREG | 0o600, Size: 3},
	}, map[string]string{"f": "content", "d/in": "abc"}}
	image, err := Make(t.Context(), source, t.TempDir(), Options{ForGuest: true})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDamagedImagesAreRefused(t *testing.T) {
	whole := small(t)
	inode := func(data []byte, n int) []byte { // Of the root, and what follows it.
		return data[int(data[superOffset+40])<<blockBits+firstInode+n:]
	}
	for name, damage := range map[string]func(data []byte) []byte{
		"empty":                func([]byte) []byte { return nil },
		"cut":                  func(data []byte) []byte { return data[:len(data)-blockSize] },
		"another magic":        func(data []byte) []byte { data[superOffset]++; return data },
		"larger blocks":        func(data []byte) []byte { data[superOffset+12] = 16; return data },
		"no root":              func(data []byte) []byte { data[superOffset+15] = 0xff; return data },
		"a compact inode":      func(data []byte) []byte { inode(data, 0)[0] = 0; return data },
		"compressed":           func(data []byte) []byte { inode(data, 0)[0] = isExtended | 1<<1; return data },
		"attributes":           func(data []byte) []byte { inode(data, 2)[0] = 1; return data },
		"a huge directory":     func(data []byte) []byte { inode(data, 8)[7] = 0x7f; return data },
		"names before entries": func(data []byte) []byte { inode(data, inodeSize+8)[0] = 1; return data },
		"no entries":           func(data []byte) []byte { clear(inode(data, inodeSize+8)[:2]); return data },
		"names in disorder":    func(data []byte) []byte { inode(data, inodeSize+dirent+8)[0] = 0xff; return data },
		"a slash in a name": func(data []byte) []byte {
			names := inode(data, inodeSize+int(inode(data, inodeSize+8)[0]))
			names[bytes.IndexByte(names, 'd')] = '/'
			return data
		},
		"a directory in itself": func(data []byte) []byte {
			copy(inode(data, inodeSize+2*dirent), inode(data, inodeSize)[:8]) // The entry "d" leads to that of ".".
			return data
		},
	} {
		t.Run(name, func(t *testing.T) {
			visited := 0
			err := Walk(bytes.NewReader(damage(bytes.Clone(whole))), func(string, File, int64) error { visited++; return nil })
			if err == nil || visited > 10*maxDepth {
				t.Errorf("%d files, %v", visited, err)
			}
		})
	}
}

// FuzzWalk walks any bytes that begin as an image does.
func FuzzWalk(f *testing.F) {
	f.Add(small(f), 5000, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at int, value byte) {
		if len(data) > 0 {
			data = bytes.Clone(data)
			data[uint(at)%uint(len(data))] ^= value
		}
		n, enough := 0, errors.New("enough")
		_ = Walk(bytes.NewReader(data), func(path string, file File, content int64) error {
			if n++; n > 10_000 {
				return enough
			}
			if file.Mode&unix.S_IFMT == unix.S_IFREG && (file.Size < 0 || content < 0) {
				t.Errorf("%q has %d bytes at %d", path, file.Size, content)
			}
			return nil
		})
	})
}
