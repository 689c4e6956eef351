package buildcontext

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What is excluded is not copied by another name either.
func TestALinkToAnExcludedFile(t *testing.T) {
	files := map[string]string{IgnoreFile: "secret*\nhidden\n", "secret": "x", "hidden/x": "y", "ok": "z",
		"alias": "-> secret", "again": "-> alias", "link": "-> hidden", "deep/link": "-> ../hidden", "fine": "-> ok"}
	for _, exclusions := range []string{"", "!ok\n", "!hidden/none\n"} {
		files[IgnoreFile] += exclusions
		c, _ := open(t, files)
		for _, source := range []string{"secret", "alias", "again", "./alias", "link/x", "deep/link/x", "ok alias", "ali*", "aga?n"} {
			if _, err := c.Select(strings.Fields(source)...); err == nil || !strings.Contains(err.Error(), "excluded by .dockerignore") {
				t.Errorf("%s with %q: %v", source, exclusions, err)
			}
		}
		if _, err := c.Select("link/*"); err == nil || !strings.Contains(err.Error(), "no file in the context matches") {
			t.Errorf("a pattern below a link: %v", err)
		}
		f, err := c.Select("fine")
		if err != nil {
			t.Fatal(err)
		}
		if got := archive(t, f); !slices.Equal(got, []string{"fine z"}) {
			t.Errorf("got %q", got)
		}
	}
	c, _ := open(t, map[string]string{IgnoreFile: "src/*.log", "src/a.log": "1", "src/b": "2", "current": "-> src"})
	f, err := c.Select("current")
	if err != nil {
		t.Fatal(err)
	}
	if got := archive(t, f); !slices.Equal(got, []string{"current/", "current/b 2"}) {
		t.Errorf("through a link: %q", got)
	}
}

func TestTheIgnoreFileCanBeALink(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "patterns")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		files map[string]string
		odd   func(path string) error
		want  string
	}{
		"to a file":       {map[string]string{IgnoreFile: "-> conf/ignore", "conf/ignore": "secret"}, nil, ""},
		"over two links":  {map[string]string{IgnoreFile: "-> conf/a", "conf/a": "-> ../conf/b", "conf/b": "secret"}, nil, ""},
		"to nothing":      {map[string]string{IgnoreFile: "-> none"}, nil, "to a file that is not there"},
		"to itself":       {map[string]string{IgnoreFile: "-> " + IgnoreFile}, nil, "too many levels"},
		"to the outside":  {map[string]string{IgnoreFile: "-> " + outside}, nil, "leads outside the context"},
		"to the parent":   {map[string]string{IgnoreFile: "-> ../x"}, nil, "leads outside the context"},
		"to a device":     {map[string]string{IgnoreFile: "-> /dev/zero"}, nil, "leads outside the context"},
		"to a directory":  {map[string]string{IgnoreFile: "-> conf", "conf/x": ""}, nil, "must be a regular file"},
		"a pipe":          {map[string]string{}, func(path string) error { return syscall.Mkfifo(path, 0o600) }, "must be a regular file"},
		"a pipe's link":   {map[string]string{IgnoreFile: "-> pipe"}, nil, "must be a regular file"},
		"a long line":     {map[string]string{IgnoreFile: strings.Repeat("x", 1<<17)}, nil, "too long"},
		"too many bytes":  {map[string]string{IgnoreFile: strings.Repeat("secret\n", maxIgnoreFile/7+1)}, nil, "at most 1048576 bytes"},
		"a wrong pattern": {map[string]string{IgnoreFile: "a[\n"}, nil, "syntax error in pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.files["secret"] = "x"
			write(t, dir, tt.files)
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.odd != nil {
				if err := tt.odd(filepath.Join(dir, IgnoreFile)); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Open(dir)
			if tt.want != "" {
				if err == nil || !strings.HasPrefix(err.Error(), IgnoreFile+": ") || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Select("secret"); err == nil || !strings.Contains(err.Error(), "excluded by .dockerignore") {
				t.Errorf("the patterns have no effect: %v", err)
			}
		})
	}
}
