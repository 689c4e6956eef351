//go:build linux

package agent_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

// archive has files and directories ("d/") whose contents are their names.
func archive(t *testing.T, names ...string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(name))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			io.WriteString(w, name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// copyGuest is a guest whose agent is initialised with the control token "c".
func copyGuest(t *testing.T) *guest {
	g := newGuest(t)
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "a"})
	return g
}

// below lists what is below a directory, with owner and mode.
func below(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		list = append(list, fmt.Sprintf("%s %d:%d %v", strings.TrimPrefix(path, dir+"/"), st.Uid, st.Gid, info.Mode()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCopy(t *testing.T) {
	const mine, others, roots = "65534:65534", "65534:4242", "0:0"
	for _, tt := range []struct {
		name string
		req  envd.CopyRequest
		want []string // Below the user's home.
	}{
		{"beginning at the home", envd.CopyRequest{Destination: "x/y"}, []string{"x " + mine + " drwxr-xr-x", "x/y " + mine + " -rw-r--r--"}},
		{"beginning at the directory of the step", envd.CopyRequest{Destination: "../y", Workdir: "HOME/a/w"}, []string{"a " + mine + " drwxr-xr-x", "a/y " + mine + " -rw-r--r--"}},
		{"beginning at a directory below the home", envd.CopyRequest{Destination: "y", Workdir: "w"}, []string{"w " + mine + " drwxr-xr-x", "w/y " + mine + " -rw-r--r--"}},
		{"to the home", envd.CopyRequest{Destination: "~", Workdir: "/"}, []string{"a.txt " + mine + " -rw-r--r--"}},
		{"below the home", envd.CopyRequest{Destination: "~/x/", Workdir: "/"}, []string{"x " + mine + " drwxr-xr-x", "x/a.txt " + mine + " -rw-r--r--"}},
		{"to no destination", envd.CopyRequest{Workdir: "~/w"}, []string{"w " + mine + " drwxr-xr-x", "w/a.txt " + mine + " -rw-r--r--"}},
		{"to a directory that is not there", envd.CopyRequest{Destination: "w/.", User: "user"}, []string{"w " + mine + " drwxr-xr-x", "w/a.txt " + mine + " -rw-r--r--"}},
		{"to an absolute path, as root", envd.CopyRequest{Destination: "HOME/x/y", Workdir: "/", User: "root"}, []string{"x " + roots + " drwxr-xr-x", "x/y " + roots + " -rw-r--r--"}},
		{"for another owner", envd.CopyRequest{Destination: "x/y", Owner: "root"}, []string{"x " + roots + " drwxr-xr-x", "x/y " + roots + " -rw-r--r--"}},
		{"for another group", envd.CopyRequest{Destination: "x/y", Owner: "user:extra"}, []string{"x " + others + " drwxr-xr-x", "x/y " + others + " -rw-r--r--"}},
		{"for numbers", envd.CopyRequest{Destination: "y", Owner: "12:34"}, []string{"y 12:34 -rw-r--r--"}},
		{"of a number", envd.CopyRequest{Destination: "y", User: "65534"}, []string{"y " + mine + " -rw-r--r--"}},
		{"with a mode", envd.CopyRequest{Destination: "x/y", Mode: "4750"}, []string{"x " + mine + " drwxr-xr-x", "x/y " + mine + " urwxr-x---"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := copyGuest(t)
			tt.req.Source = "a.txt"
			tt.req.Destination = strings.Replace(tt.req.Destination, "HOME", g.home, 1)
			tt.req.Workdir = strings.Replace(tt.req.Workdir, "HOME", g.home, 1)
			if err := envd.Copy(t.Context(), g.dial, "c", tt.req, gzipped(archive(t, "a.txt").Bytes())); err != nil {
				t.Fatal(err)
			}
			if got := below(t, g.home); !slices.Equal(got, tt.want) {
				t.Errorf("there is %q", got)
			}
		})
	}
}

// A refusal has a line for the author of the step, and leaves nothing.
func TestCopyRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		req    envd.CopyRequest
		status int
		want   string
	}{
		{"no match", envd.CopyRequest{Source: "docs/*\n", Destination: "x"}, 400, `copy "docs/*\n" to "x": no files matched "docs/*\n"`},
		{"unknown user", envd.CopyRequest{Source: "a", User: "root123"}, 400, `copy "a" to "": invalid username: 'root123'`},
		{"unknown owner", envd.CopyRequest{Source: "a", Owner: "root123:user"}, 400, `copy "a" to "": invalid username: 'root123:user'`},
		{"unknown group", envd.CopyRequest{Source: "a", Owner: "user:none"}, 400, `copy "a" to "": unknown group: "none"`},
		{"mode in letters", envd.CopyRequest{Source: "a", Mode: "u+x"}, 400, `copy "a" to "": the mode must be an octal number up to 7777, got "u+x"`},
		{"mode of a file's kind", envd.CopyRequest{Source: "a", Mode: "10755"}, 400, `copy "a" to "": the mode must be an octal number up to 7777, got "10755"`},
		{"home of another user", envd.CopyRequest{Source: "a", Destination: "~root\n/x"}, 400, `copy "a" to "~root\n/x": path '~root /x': the home of another user cannot be expanded`},
		{"zero byte", envd.CopyRequest{Source: "a", Destination: "x\x00"}, 400, `copy "a" to "x\x00": path has a zero byte`},
		{"zero byte in the directory", envd.CopyRequest{Source: "a", Workdir: "x\x00"}, 400, `copy "a" to "": path has a zero byte`},
		{"zero byte in the source", envd.CopyRequest{Source: "a\x00"}, 400, `copy "a\x00" to "": no files matched "a\x00"`},
		{"directory over a file", envd.CopyRequest{Source: "d", Destination: "/etc/passwd"}, 400, `copy "d" to "/etc/passwd": "/etc/passwd" is not a directory`},
		{"below a file", envd.CopyRequest{Source: "a", Destination: "/etc/passwd/x/y"}, 400, `copy "a" to "/etc/passwd/x/y": make "/etc/passwd/x": not a directory`},
		{"long name", envd.CopyRequest{Source: "a", Destination: strings.Repeat("n", 300)}, 400, `file name too long`},
		{"where no file can be", envd.CopyRequest{Source: "a", Destination: "/proc/x"}, 400, `copy "a" to "/proc/x": make a temporary directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := copyGuest(t)
			err := envd.Copy(t.Context(), g.dial, "c", tt.req, archive(t, "a", "d/"))
			var s *envd.StatusError
			if !errors.As(err, &s) || s.Status != tt.status || !strings.Contains(s.Message, tt.want) || strings.Contains(s.Message, "\n") {
				t.Errorf("%v", err)
			}
			if got := below(t, g.home); len(got) != 0 {
				t.Errorf("there is %q", got)
			}
		})
	}
}

func TestCopyIsForTheHost(t *testing.T) {
	g := newGuest(t)
	attempt := func(token string) error {
		return envd.Copy(t.Context(), g.dial, token, envd.CopyRequest{Source: "a", Destination: "a"}, archive(t, "a"))
	}
	if err := attempt(""); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("an agent that is not initialised: %v", err)
	}
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "a"})
	for _, token := range []string{"", "a", "other"} {
		if err := attempt(token); !errors.Is(err, envd.ErrUnauthorized) {
			t.Errorf("the token %q: %v", token, err)
		}
	}
	if got := below(t, g.home); len(got) != 0 {
		t.Errorf("there is %q", got)
	}
	if !envd.HostOnly(envd.CopyPath) {
		t.Error("a proxy carries it from outside")
	}
	if resp, text := g.do(t, "POST", envd.CopyPath+"?request={", map[string]string{"X-Control-Token": "c"}, nil); resp.StatusCode != 400 || !strings.Contains(text, "copy request") {
		t.Errorf("half a request: %d %s", resp.StatusCode, text)
	}
	// What an agent without it answers.
	old := httptest.NewServer(http.NotFoundHandler())
	defer old.Close()
	g.addr = old.Listener.Addr().String()
	var s *envd.StatusError
	if err := attempt("c"); !errors.As(err, &s) || s.Status != http.StatusNotFound {
		t.Errorf("an older agent: %v", err)
	}
}

// A client that is gone in the middle leaves nothing, and other control requests do not wait for it.
func TestACopyThatBreaksOffLeavesNothing(t *testing.T) {
	g := copyGuest(t)
	for _, all := range [][]byte{archive(t, "d/", "d/a", "d/b").Bytes(), gzipped(archive(t, "d/", "d/a", "d/b").Bytes()).Bytes()} {
		pr, pw := io.Pipe()
		copied := make(chan error, 1)
		go func() {
			copied <- envd.Copy(t.Context(), g.dial, "c", envd.CopyRequest{Source: ".", Destination: "x/y"}, pr)
		}()
		if _, err := pw.Write(all[:len(all)*2/3]); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a temporary directory", func() bool { return entries(t, g.home) > 0 })
		g.init(t, envd.InitRequest{CurrentToken: "c", ControlToken: "c"})
		gone := errors.New("gone")
		pw.CloseWithError(gone)
		if err := <-copied; !errors.Is(err, gone) {
			t.Errorf("%v", err)
		}
		eventually(t, "an empty home", func() bool { return entries(t, g.home) == 0 })
	}
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A full disk is said to be so, while the archive goes on, and leaves what was there.
func TestCopyToAFullDisk(t *testing.T) {
	g := copyGuest(t)
	full := small(t, "size=64k")
	put(t, full+"/old", "precious")
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: "old", Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	err := envd.Copy(t.Context(), g.dial, "c", envd.CopyRequest{Source: ".", Destination: full}, io.MultiReader(&head, zeroes{}))
	var s *envd.StatusError
	if !errors.As(err, &s) || s.Status != 507 || !strings.Contains(s.Message, `not enough disk space available: copy "." to "`+full+`": unpack "old": no space left on device`) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(full); len(left) != 1 {
		t.Errorf("there is %v, %v", left, err)
	}
	if b, err := os.ReadFile(full + "/old"); string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }
