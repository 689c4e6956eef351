package buildcontext

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// open makes a context. The content of a file that begins with "-> " makes a link, and a name with a slash at its end a directory.
func open(t *testing.T, files map[string]string) (*Context, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "context")
	write(t, dir, files)
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, dir
}

// write makes the files of a context: see open.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		link, isLink := strings.CutPrefix(content, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(link, path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// archive writes the archive of files, and returns its entries.
func archive(t *testing.T, f *Files) []string {
	t.Helper()
	sum, err := f.Hash()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.WriteArchive(&b, sum); err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s%s", h.Name, h.Linkname, content)))
	}
}

var tree = map[string]string{
	"a.txt": "A", "b.txt": "B", "run.sh": "R", "src/a.txt": "SA", "src/deep/x": "X", "src/link": "-> ../a.txt", "lib/y": "Y", "empty/": "",
	"current": "-> src", "alias": "-> a.txt", "away": "-> /etc/passwd", "up": "-> ../outside", "odd[1]*": "O",
}

func TestWhatACopyNames(t *testing.T) {
	for _, tt := range []struct {
		sources, source string
		want            []string
	}{
		{"a.txt", "a.txt", []string{"a.txt A"}},
		{"/a.txt", "a.txt", []string{"a.txt A"}},
		{"./src/../a.txt", "a.txt", []string{"a.txt A"}},
		{"src/deep/x", "src/deep/x", []string{"src/deep/x X"}},
		{"src", "src", []string{"src/", "src/a.txt SA", "src/deep/", "src/deep/x X", "src/link ../a.txt"}},
		{"empty", "empty", []string{"empty/"}},
		{"*.sh", "run.sh", []string{"run.sh R"}},
		{"?.txt", ".", []string{"a.txt A", "b.txt B"}},
		{"s*/a.txt", "src/a.txt", []string{"src/a.txt SA"}},
		{"current/*.txt", "current/a.txt", []string{"current/a.txt SA"}},
		{"*/a.txt", "src/a.txt", []string{"src/a.txt SA"}},
		{"[sl]*", ".", []string{"a.txt SA", "deep/", "deep/x X", "link ../a.txt", "y Y"}},
		{"a.txt src/a.txt", ".", []string{"a.txt SA"}},
		{"a.txt lib", ".", []string{"a.txt A", "y Y"}},
		{"alias", "alias", []string{"alias A"}},
		{"current", "current", []string{"current/", "current/a.txt SA", "current/deep/", "current/deep/x X", "current/link ../a.txt"}},
		{"current/a.txt", "current/a.txt", []string{"current/a.txt SA"}},
		{`odd\[1\]\*`, `odd\[1]\*`, []string{"odd[1]* O"}},
	} {
		t.Run(tt.sources, func(t *testing.T) {
			c, _ := open(t, tree)
			f, err := c.Select(strings.Fields(tt.sources)...)
			if err != nil {
				t.Fatal(err)
			}
			if got := archive(t, f); !slices.Equal(got, tt.want) || f.Source() != tt.source || f.Len() != len(tt.want) {
				t.Errorf("source %q, %q; want %q, %q", f.Source(), got, tt.source, tt.want)
			}
		})
	}
}

func TestTheWholeContextKeepsLinksAsTheyAre(t *testing.T) {
	c, _ := open(t, tree)
	f, err := c.Select(".")
	if err != nil {
		t.Fatal(err)
	}
	got := archive(t, f)
	for _, want := range []string{"away /etc/passwd", "up ../outside", "current src", "empty/"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if f.Source() != "." || f.Bytes() != 8 {
		t.Errorf("source %q, %d bytes", f.Source(), f.Bytes())
	}
}

func TestWhatIsRefused(t *testing.T) {
	c, dir := open(t, tree)
	if err := os.WriteFile(filepath.Join(dir, "../outside"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "lib", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for sources, want := range map[string]string{
		"..":           "outside the context",
		"../outside":   "outside the context",
		"a/../../x":    "outside the context",
		"../*":         "outside the context",
		"up":           "leads outside",
		"away":         "leads outside",
		"none":         "no such file",
		"a.txt/x":      "not a directory",
		"*.none":       "no file in the context matches",
		"[":            "syntax error in pattern",
		"lib":          "neither a file nor a directory",
		"lib/pipe":     "neither a file nor a directory",
		"src lib/pipe": "neither a file nor a directory",
	} {
		if _, err := c.Select(strings.Fields(sources)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", sources, err, want)
		}
	}
	c, _ = open(t, map[string]string{"one/x": "file", "two/x/y": "in a directory"})
	if _, err := c.Select("one", "two"); err == nil || !strings.Contains(err.Error(), "where another has a directory") {
		t.Errorf("%v", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there")
	}
}

func TestIgnoredFiles(t *testing.T) {
	files := map[string]string{"a.log": "1", "keep.log": "2", "src/a.log": "3", "src/m": "4", "node_modules/x/y": "5", "node_modules/keep": "6", "z": "7"}
	for ignore, want := range map[string][]string{
		"":                               {"a.log 1", "keep.log 2", "node_modules/", "node_modules/keep 6", "node_modules/x/", "node_modules/x/y 5", "src/", "src/a.log 3", "src/m 4", "z 7"},
		"*.log":                          {"node_modules/", "node_modules/keep 6", "node_modules/x/", "node_modules/x/y 5", "src/", "src/a.log 3", "src/m 4", "z 7"},
		"# c\n**/*.log\n/node_modules/":  {"src/", "src/m 4", "z 7"},
		"**\n!src\n!keep.log":            {"keep.log 2", "src/", "src/a.log 3", "src/m 4"},
		"node_modules\n!node_modules/k*": {"a.log 1", "keep.log 2", "node_modules/keep 6", "src/", "src/a.log 3", "src/m 4", "z 7"},
	} {
		t.Run(ignore, func(t *testing.T) {
			all := map[string]string{}
			for name, content := range files {
				all[name] = content
			}
			if ignore != "" {
				all[IgnoreFile] = ignore
			}
			c, _ := open(t, all)
			f, err := c.Select(".")
			if err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(archive(t, f), func(e string) bool { return strings.HasPrefix(e, IgnoreFile) })
			if !slices.Equal(got, want) {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		})
	}
	c, _ := open(t, map[string]string{IgnoreFile: "secret*\ndir\n", "secret": "x", "dir/x": "y", "ok": "z"})
	for _, source := range []string{"secret", "dir", "dir/x"} {
		if _, err := c.Select(source); err == nil || !strings.Contains(err.Error(), "excluded by .dockerignore") {
			t.Errorf("%s: %v", source, err)
		}
	}
	if _, err := c.Select("se*"); err == nil || !strings.Contains(err.Error(), "no file in the context matches") {
		t.Errorf("%v", err)
	}
}

func TestTheHashIsOfWhatIsCopied(t *testing.T) {
	files := map[string]string{"src/a": "1", "src/b": "-> a"}
	hash := func(change func(dir string) error) string {
		t.Helper()
		c, dir := open(t, files)
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		f, err := c.Select("src")
		if err != nil {
			t.Fatal(err)
		}
		sum, err := f.Hash()
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	same := hash(func(string) error { return nil })
	if len(same) != 64 || same != hash(func(dir string) error { return os.WriteFile(filepath.Join(dir, "other"), nil, 0o600) }) {
		t.Errorf("%q is not the same", same)
	}
	for name, change := range map[string]func(dir string) error{
		"content": func(dir string) error { return os.WriteFile(filepath.Join(dir, "src/a"), []byte("2"), 0o600) },
		"mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "src/a"), 0o755) },
		"name":    func(dir string) error { return os.Rename(filepath.Join(dir, "src/a"), filepath.Join(dir, "src/c")) },
		"link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "src/b")), os.Symlink("/a", filepath.Join(dir, "src/b")))
		},
		"more": func(dir string) error { return os.Mkdir(filepath.Join(dir, "src/d"), 0o755) },
	} {
		if hash(change) == same {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

func TestFilesThatChangeAreNotSent(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"content": func(path string) error { return os.WriteFile(path, []byte("22"), 0o600) },
		"size":    func(path string) error { return os.WriteFile(path, []byte("333"), 0o600) },
		"gone":    os.Remove,
		"pipe":    func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
		"link": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path+"2", []byte("xx"), 0o600), os.Symlink(path+"2", path))
		},
	} {
		c, dir := open(t, map[string]string{"a": "11"})
		f, err := c.Select("a")
		if err != nil {
			t.Fatal(err)
		}
		sum, err := f.Hash()
		if err == nil {
			err = change(filepath.Join(dir, "a"))
		}
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := f.WriteArchive(&b, sum); err == nil {
			t.Errorf("%s: it was sent", name)
		}
		// A reader must not take what there is for the whole.
		if plain, err := gzip.NewReader(bytes.NewReader(b.Bytes())); err == nil {
			if _, err := io.Copy(io.Discard, plain); err == nil {
				t.Errorf("%s: the archive looks complete", name)
			}
		}
	}
}
