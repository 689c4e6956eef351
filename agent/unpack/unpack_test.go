//go:build linux

package unpack

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// What the SDKs send for "." and "src" of one context.
var (
	all = []string{"./", "a.txt", "abs -> /etc", "b.txt", "dangling -> nowhere", "empty/", "link -> src", "src/", "src/app.txt", "src/sub/", "src/sub/n.py"}
	src = all[7:]
)

func TestCopy(t *testing.T) {
	mode := func(m fs.FileMode) *fs.FileMode { return &m }
	for _, tt := range []struct {
		name    string
		archive []string
		source  string
		there   []string // Before.
		dest    string   // With a slash it is Into.
		mode    *fs.FileMode
		want    []string
	}{
		// A file.
		{name: "file to a new name", archive: []string{"a.txt"}, source: "a.txt", dest: "x/y", want: []string{"x/", "x/y <a.txt>"}},
		{name: "file in place of another", archive: []string{"a.txt"}, source: "a.txt", there: []string{"x"}, dest: "x", want: []string{"x <a.txt>"}},
		{name: "file to a new directory", archive: []string{"d/a.txt"}, source: "d/a.txt", dest: "x/y/", want: []string{"x/", "x/y/", "x/y/a.txt <d/a.txt>"}},
		{name: "file to a directory that is there", archive: []string{"a.txt"}, source: "./a.txt", there: []string{"x/old"}, dest: "x", want: []string{"x/ root", "x/a.txt <a.txt>", "x/old old root"}},
		{name: "file to the directory behind a link", archive: []string{"a.txt"}, source: "d/../a.txt", there: []string{"x/", "l -> x"}, dest: "l", want: []string{"l -> x root", "x/ root", "x/a.txt <a.txt>"}},
		{name: "file in place of a link", archive: []string{"a.txt"}, source: "a.txt", there: []string{"x", "l -> x"}, dest: "l", want: []string{"l <a.txt>", "x old root"}},
		{name: "file without set-id and sticky bits", archive: []string{"a 7751"}, source: "a", dest: "x", want: []string{"x -rwxr-x--x <a>"}},
		{name: "file with the mode of the step", archive: []string{"a"}, source: "a", dest: "x", mode: mode(0o711 | fs.ModeSetuid), want: []string{"x urwx--x--x <a>"}},
		// A link.
		{name: "link", archive: []string{"link -> src"}, source: "link", dest: "x", want: []string{"x -> src"}},
		{name: "link to nothing into a directory", archive: []string{"d -> .././/etc"}, source: "d", dest: "x/", want: []string{"x/", "x/d -> .././/etc"}},
		{name: "link to a directory, resolved by the client", archive: []string{"link/"}, source: "link", dest: "x", want: []string{"x/"}},
		// A directory.
		{name: "directory", archive: src, source: "src", dest: "x", want: []string{"x/", "x/app.txt <src/app.txt>", "x/sub/", "x/sub/n.py <src/sub/n.py>"}},
		{name: "directory with slashes", archive: src, source: "src/", dest: "x/", want: []string{"x/", "x/app.txt <src/app.txt>", "x/sub/", "x/sub/n.py <src/sub/n.py>"}},
		{name: "part of what was sent", archive: all, source: "src/sub", dest: "x", want: []string{"x/", "x/n.py <src/sub/n.py>"}},
		{name: "empty directory", archive: []string{"empty/"}, source: "empty", dest: "x/y", want: []string{"x/", "x/y/"}},
		{name: "directory with its mode", archive: []string{"d/ 7700", "d/e/ 500", "d/e/f 400"}, source: "d", dest: "x",
			want: []string{"x/ drwx------", "x/e/ dr-x------", "x/e/f -r-------- <d/e/f>"}},
		{name: "directory with the mode of the step", archive: src, source: "src", dest: "x/y", mode: mode(0o750),
			want: []string{"x/", "x/y/ drwxr-x---", "x/y/app.txt -rwxr-x--- <src/app.txt>", "x/y/sub/ drwxr-x---", "x/y/sub/n.py -rwxr-x--- <src/sub/n.py>"}},
		{name: "directory into another", archive: []string{"d/ 700", "d/f", "d/s/ 700", "d/s/f", "d/new/ 700", "d/l -> f"}, source: "d", there: []string{"x/f", "x/s/old", "x/l -> s"}, dest: "x",
			want: []string{"x/ root", "x/f <d/f>", "x/l -> f", "x/new/ drwx------", "x/s/ root", "x/s/f <d/s/f>", "x/s/old old root"}},
		{name: "directory into those behind links", archive: []string{"d/bin/", "d/bin/f"}, source: "d", there: []string{"x/usr/", "x/bin -> usr", "l -> x"}, dest: "l",
			want: []string{"l -> x root", "x/ root", "x/bin -> usr root", "x/usr/ root", "x/usr/f <d/bin/f>"}},
		{name: "context", archive: all, source: ".", dest: "x",
			want: []string{"x/", "x/a.txt <a.txt>", "x/abs -> /etc", "x/b.txt <b.txt>", "x/dangling -> nowhere", "x/empty/", "x/link -> src", "x/src/", "x/src/app.txt <src/app.txt>", "x/src/sub/", "x/src/sub/n.py <src/sub/n.py>"}},
		{name: "context without an entry for it", archive: []string{"a/b/c"}, source: "./", there: []string{"x/a/old"}, dest: "x/", mode: mode(0o600),
			want: []string{"x/ root", "x/a/ root", "x/a/b/", "x/a/b/c -rw------- <a/b/c>", "x/a/old old root"}},
		{name: "entries in any order", archive: []string{"d/e/f", "d/e/", "d/ 700", "d/e/ 711"}, source: "d", dest: "x", want: []string{"x/ drwx------", "x/e/ drwx--x--x", "x/e/f <d/e/f>"}},
		// A pattern.
		{name: "pattern", archive: []string{"a.txt", "b.txt"}, source: "*.txt", dest: "x", want: []string{"x/", "x/a.txt <a.txt>", "x/b.txt <b.txt>"}},
		{name: "pattern of one file", archive: []string{"d/a.jar"}, source: "d/?.jar", dest: "x.jar", want: []string{"x.jar/", "x.jar/a.jar <d/a.jar>"}},
		{name: "pattern in a directory", archive: src[1:], source: "src/*", dest: "x", want: []string{"x/", "x/app.txt <src/app.txt>", "x/sub/", "x/sub/n.py <src/sub/n.py>"}},
		{name: "nested pattern", archive: []string{"src/m.py", "src/s/n.py"}, source: "./src/**/*.py", there: []string{"x/s/n.py"}, dest: "x/", want: []string{"x/ root", "x/m.py <src/m.py>", "x/s/ root", "x/s/n.py <src/s/n.py>"}},
		{name: "pattern of everything", archive: all[5:], source: "**", dest: "x", want: []string{"x/", "x/empty/", "x/link -> src", "x/src/", "x/src/app.txt <src/app.txt>", "x/src/sub/", "x/src/sub/n.py <src/sub/n.py>"}},
		{name: "star, and a file of that name", archive: []string{"*", "a"}, source: "*", dest: "x", want: []string{"x/", "x/* <*>", "x/a <a>"}},
		{name: "alternatives", archive: []string{"d/a.txt", "d/b.txt"}, source: "d/{a,b}.txt", dest: "x", want: []string{"x/", "x/a.txt <d/a.txt>", "x/b.txt <d/b.txt>"}},
		{name: "extended pattern", archive: []string{"a.txt"}, source: "@(a|b).txt", dest: "x", want: []string{"x/", "x/a.txt <a.txt>"}},
		{name: "alternatives of directories", archive: []string{"d/a/b.txt"}, source: "d/[ab]/{b,c}.txt", dest: "x", want: []string{"x/", "x/a/", "x/a/b.txt <d/a/b.txt>"}},
		{name: "name that another client takes for a pattern", archive: []string{"d{a}/f"}, source: "d{a}/f", dest: "x", want: []string{"x <d{a}/f>"}},
		{name: "name with escapes", archive: []string{"p/[id].tsx"}, source: `p/\[id\].tsx`, dest: "x", want: []string{"x <p/[id].tsx>"}},
		{name: "pattern below a name with escapes", archive: []string{"[id]/a"}, source: `\[id\]/*`, dest: "x", want: []string{"x/", "x/a <[id]/a>"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for kind, archive := range map[string][]byte{"plain": pack(t, tt.archive...), "compressed": zipped(t, pack(t, tt.archive...))} {
				root := tempRoot(t)
				populate(t, root, tt.there...)
				req := Request{Source: tt.source, Destination: filepath.Join(root, tt.dest), Into: strings.HasSuffix(tt.dest, "/"), Owner: ann, Mode: tt.mode}
				if err := Copy(iotest.HalfReader(bytes.NewReader(archive)), req); err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				if got := look(t, root); !slices.Equal(got, tt.want) {
					t.Errorf("%s: there is\n%s\nand not\n%s", kind, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
			}
		})
	}
}

// A new directory has the time of its entry, and hard links have one inode.
func TestCopyKeepsTimesAndHardLinks(t *testing.T) {
	root := tempRoot(t)
	must(t, Copy(bytes.NewReader(pack(t, "d/", "d/a", "d/b=>d/a", "d/l -> a", "d/m=>d/l")), Request{Source: "d", Destination: root + "/x", Owner: ann}))
	stat := func(name string) os.FileInfo {
		t.Helper()
		info, err := os.Lstat(filepath.Join(root, name))
		must(t, err)
		return info
	}
	if got := stat("x").ModTime(); !got.Equal(then) {
		t.Errorf("the directory is of %v", got)
	}
	if !os.SameFile(stat("x/a"), stat("x/b")) || !os.SameFile(stat("x/l"), stat("x/m")) || os.SameFile(stat("x/a"), stat("x/l")) {
		t.Error("hard links are not")
	}
}

// A file that is open keeps its contents, and its other names theirs.
func TestCopyReplacesFilesAsAWhole(t *testing.T) {
	root := tempRoot(t)
	populate(t, root, "x")
	must(t, os.Link(root+"/x", root+"/other"))
	must(t, Copy(bytes.NewReader(pack(t, "a")), Request{Source: "a", Destination: root + "/x", Owner: ann}))
	if got, want := look(t, root), []string{"other old root", "x <a>"}; !slices.Equal(got, want) {
		t.Errorf("there is %q", got)
	}
}

// What is on another file system below the destination is copied there.
func TestCopyAcrossFileSystems(t *testing.T) {
	root := tempRoot(t)
	populate(t, root, "x/mnt/")
	must(t, syscall.Mount("tmpfs", root+"/x/mnt", "tmpfs", 0, "mode=0755"))
	defer syscall.Unmount(root+"/x/mnt", 0)
	populate(t, root, "x/mnt/old")
	mode := fs.FileMode(0o751) | fs.ModeSetgid
	must(t, Copy(bytes.NewReader(pack(t, "mnt/", "mnt/old", "mnt/d/", "mnt/d/l -> x")), Request{Source: ".", Destination: root + "/x", Owner: ann, Mode: &mode}))
	want := []string{"x/ root", "x/mnt/ root", "x/mnt/d/ dgrwxr-x--x", "x/mnt/d/l -> x", "x/mnt/old grwxr-x--x <mnt/old>"}
	if got := look(t, root); !slices.Equal(got, want) {
		t.Errorf("there is %q", got)
	}
}
