//go:build linux

package erofs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	upstream "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

// example is a directory with everything that an image can have.
func example(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for _, size := range []int{0, 1, 100, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 262143, 262144, 262145, 300_000} {
		must(os.WriteFile(at(fmt.Sprintf("size-%d", size)), noise[:size], 0o644))
	}
	must(os.Mkdir(at("dir"), 0o750), os.Mkdir(at("dir/empty"), 0o700), os.MkdirAll(at("a/b/c/d/e"), 0o755),
		os.Link(at("size-100"), at("dir/link")), os.Link(at("size-100"), at("a/link")), os.Mkdir(at("many"), 0o1777),
		os.WriteFile(at("odd \xff\xfe\n\\name"), []byte("odd"), 0o604), os.WriteFile(at("!before the dots"), nil, 0o644),
		os.WriteFile(at(strings.Repeat("n", 255)), nil, 0o644), os.WriteFile(at(".wh.kept"), nil, 0o644),
		os.Symlink("dir/link", at("symlink")), os.Symlink("gone\xff", at("dangling")), os.Symlink(strings.Repeat("t", 4000), at("long")),
		os.Symlink(strings.Repeat("t", 4095), at("longest")))
	for i := range 1500 {
		must(os.WriteFile(at(fmt.Sprintf("many/%0*d", 1+i%200, i)), []byte{byte(i)}, 0o644))
	}
	sparse, err := os.Create(at("sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 40<<20)
	must(err, sparse.Close())
	must(unix.Mkfifo(at("fifo"), 0o600), unix.Setxattr(at("size-1"), "user.note", []byte("of a user\x00\xff"), 0),
		unix.Setxattr(at("dir"), "user.empty", nil, 0), os.Chmod(at("size-4096"), 0o755|fs.ModeSetuid|fs.ModeSetgid))
	must(os.Chtimes(at("size-1"), time.Time{}, time.Unix(1, 999_999_999)), os.Chtimes(at("dir/empty"), time.Time{}, time.Unix(-86400, 5)))
	for i := range 20 {
		must(unix.Setxattr(at("size-8192"), fmt.Sprintf("user.%d", i), bytes.Repeat([]byte{'v'}, 100+i), 0))
	}
	if os.Geteuid() == 0 {
		must(os.Lchown(at("symlink"), 70000, 80000), os.Chown(at("dir/empty"), 1<<31, 5),
			unix.Setxattr(at("size-4097"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
			unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod(at("disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 300))),
			unix.Mknod(at("whiteout"), unix.S_IFCHR, 0))
	}
	return root
}

func makeImage(t *testing.T, source Source, options Options) *Image {
	t.Helper()
	image, err := Make(t.Context(), source, t.TempDir(), options)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestTheKernelSeesTheTree(t *testing.T) {
	root := example(t)
	image := makeImage(t, Dir(root), Options{})
	want := describe(t, root)
	mounted(t, image.Path, func(dir string) { compare(t, want, describe(t, dir)) })
	if image.Files != len(want) || image.LeftOut != 0 {
		t.Errorf("%d files and %d without attributes, want %d and 0", image.Files, image.LeftOut, len(want))
	}
	var st unix.Stat_t
	if err := unix.Stat(image.Path, &st); err != nil || st.Size != image.Bytes || st.Blocks*512 > st.Size-30<<20 {
		t.Errorf("the image has %d bytes, and takes %d, %v; it has a file with a hole of 40 MiB", st.Size, st.Blocks*512, err)
	}
}

// TestAnotherReaderSeesTheTree has what needs no kernel and no root.
func TestAnotherReaderSeesTheTree(t *testing.T) {
	root := example(t)
	image := makeImage(t, Dir(root), Options{ForGuest: true})
	f, err := os.Open(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, err := upstream.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if n++; err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		host, err := os.Lstat(filepath.Join(root, path))
		if err != nil {
			return err
		}
		// The other reader leaves out set-uid.
		const kept = fs.ModeType | fs.ModePerm
		if host.Mode()&kept != info.Mode()&kept || !host.ModTime().Equal(info.ModTime()) {
			t.Errorf("%q has mode %v and time %v, want %v and %v", path, info.Mode(), info.ModTime(), host.Mode(), host.ModTime())
		}
		if st, ok := info.Sys().(*upstream.Stat); !ok || len(st.Xattrs) > 0 {
			t.Errorf("%q has the attributes %v in an image for a guest", path, st.Xattrs)
		}
		if host.Mode().IsRegular() && host.Size() < 1<<20 && fs.ValidPath(path) {
			want, _ := os.ReadFile(filepath.Join(root, path))
			if got, err := fs.ReadFile(files, path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q has another content: %v", path, err)
			}
		}
		return nil
	})
	if err != nil || n != image.Files {
		t.Errorf("%d files, want %d: %v", n, image.Files, err)
	}
	if want := 3; image.LeftOut < want {
		t.Errorf("attributes of %d files are left out, want at least %d", image.LeftOut, want)
	}
}

func TestTheSameTreeIsTheSameImage(t *testing.T) {
	root := example(t)
	one := makeImage(t, Dir(root), Options{})
	two := makeImage(t, Dir(root), Options{})
	a, err := os.ReadFile(one.Path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(two.Path)
	if err != nil || !bytes.Equal(a, b) || one.Digest != two.Digest {
		t.Errorf("two images of a tree are %s and %s, %v", one.Digest, two.Digest, err)
	}
	if !strings.HasPrefix(filepath.Base(one.Path), one.Digest) || fmt.Sprintf("%x", a[uuidOffset:uuidOffset+6]) != one.Digest[:12] {
		t.Errorf("the image of digest %s is %s", one.Digest, one.Path)
	}
	if err := os.Chmod(filepath.Join(root, "size-1"), 0o600); err != nil {
		t.Fatal(err)
	}
	three := makeImage(t, Dir(root), Options{})
	c, err := os.ReadFile(three.Path)
	if err != nil || three.Digest == one.Digest || bytes.Equal(a[uuidOffset:uuidOffset+16], c[uuidOffset:uuidOffset+16]) {
		t.Errorf("another tree has the same digest or UUID %x, %v", c[uuidOffset:uuidOffset+16], err)
	}
}

func TestSetUIDIsTheCallersChoice(t *testing.T) {
	root := example(t)
	image := makeImage(t, Dir(root), Options{Mode: func(path string, mode uint32) uint32 {
		if path == "size-4096" {
			return mode &^ unix.S_ISUID
		}
		return mode
	}})
	mounted(t, image.Path, func(dir string) {
		if info, err := os.Stat(filepath.Join(dir, "size-4096")); err != nil || info.Mode() != 0o755|fs.ModeSetgid {
			t.Errorf("the file has mode %v, %v", info.Mode(), err)
		}
	})
}

func TestAnImageHasALimit(t *testing.T) {
	files := FS(fstest.MapFS{"a": {Data: make([]byte, 1<<20)}})
	size := makeImage(t, files, Options{}).Bytes
	makeImage(t, files, Options{MaxBytes: size})
	dir := t.TempDir()
	if _, err := Make(t.Context(), files, dir, Options{MaxBytes: size - 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an image of %d bytes: %v", size, err)
	}
	want(t, dir, lockFile)
}

func TestFilesOfGo(t *testing.T) {
	image := makeImage(t, FS(fstest.MapFS{
		"a/b":  {Data: []byte("content"), Mode: 0o640, ModTime: time.Unix(1000, 0)},
		"link": {Data: []byte("a/b"), Mode: fs.ModeSymlink | 0o777},
	}), Options{})
	mounted(t, image.Path, func(dir string) {
		data, err := os.ReadFile(filepath.Join(dir, "link"))
		info, statErr := os.Stat(filepath.Join(dir, "a/b"))
		if string(data) != "content" || errors.Join(err, statErr) != nil || info.Mode() != 0o640 || info.ModTime().Unix() != 1000 {
			t.Errorf("%q, %v, %v", data, info, errors.Join(err, statErr))
		}
	})
}

func TestOneImageAtATime(t *testing.T) {
	dir := t.TempDir()
	lock, err := flock.Try(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), FS(fstest.MapFS{}), dir, Options{}); !errors.Is(err, flock.ErrHeld) {
		t.Errorf("a second image at the same time: %v", err)
	}
	_ = lock.Close()
	// What a process left that died is overwritten.
	if err := os.WriteFile(filepath.Join(dir, unfinished), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := Make(t.Context(), FS(fstest.MapFS{}), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(first.Path)
	if again, err := Make(t.Context(), FS(fstest.MapFS{}), dir, Options{}); err != nil || *again != *first {
		t.Errorf("made again it is %v, %v, want %v", again, err, first)
	}
	if after, err := os.Stat(first.Path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the image was replaced by its equal: %v", err)
	}
	want(t, dir, first.Digest+Suffix, lockFile)
}

// want checks which files are in a directory.
func want(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(names) {
		t.Errorf("%v are there, want %q: %v", entries, names, err)
	}
}

func TestACancelledImageLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir, calls := t.TempDir(), 0
	_, err := Make(ctx, Dir(example(t)), dir, Options{Progress: func(files int, _ int64) {
		if calls++; files == 10 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || calls < 10 || calls > 12 {
		t.Errorf("after %d files: %v", calls, err)
	}
	want(t, dir, lockFile)
}

// TestAttributesOfAnySize has those that fill the block behind the inode, and more.
func TestAttributesOfAnySize(t *testing.T) {
	source := hostile{names: map[string][]string{"": {}}, files: map[string]File{}}
	sizes := []int{0, 1, 3900, 4000, 4010, 4020, 4096, 65535}
	for _, size := range sizes {
		name := fmt.Sprint(size)
		source.names[""] = append(source.names[""], name)
		source.files[name] = File{Mode: unix.S_IFLNK | 0o777, Target: "target", Attributes: map[string]string{"trusted.v": strings.Repeat("v", size)}}
	}
	image := makeImage(t, source, Options{})
	mounted(t, image.Path, func(dir string) {
		for _, size := range sizes {
			path := filepath.Join(dir, fmt.Sprint(size))
			got, err := attributes(path)
			target, linkErr := os.Readlink(path)
			if len(got["trusted.v"]) != size || target != "target" || errors.Join(err, linkErr) != nil {
				t.Errorf("an attribute of %d bytes has %d, the link %q, %v", size, len(got["trusted.v"]), target, errors.Join(err, linkErr))
			}
		}
	})
}

// TestNoFileIsInline checks the inodes: gVisor cannot map a regular file that is inline.
func TestNoFileIsInline(t *testing.T) {
	image := makeImage(t, FS(fstest.MapFS{"small": {Data: []byte("small")}}), Options{})
	data, err := os.ReadFile(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	at := int(binary.LittleEndian.Uint32(data[superOffset+40:]))<<blockBits + firstInode
	regular := 0
	for ; at+inodeSize <= len(data); at += inodeUnit {
		if binary.LittleEndian.Uint16(data[at+4:])&unix.S_IFMT == unix.S_IFREG && binary.LittleEndian.Uint64(data[at+8:]) == 5 {
			if regular++; binary.LittleEndian.Uint16(data[at:])&isInline != 0 {
				t.Error("the file is inline")
			}
		}
	}
	if regular != 1 {
		t.Errorf("%d regular files", regular)
	}
}
