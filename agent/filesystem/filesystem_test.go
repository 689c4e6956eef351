//go:build linux

package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/metadata"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

func newService(t *testing.T) (s *Service, home string) {
	t.Helper()
	home, etc := t.TempDir(), t.TempDir()
	write(t, etc+"/passwd", "root:x:0:0::"+home+":\nann:x:4242:4343::"+home+":\n")
	write(t, etc+"/group", "root:x:0:\nstaff:x:4343:\n")
	s = New(sandbox.New(account.Open(etc+"/passwd", etc+"/group")))
	t.Cleanup(s.Close)
	return s, home
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// otherFileSystem is a directory that no rename from home leads to.
func otherFileSystem(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("these tests mount, so they run as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (s *Service) moveFor(t *testing.T, src, dst string) (*filesystempb.EntryInfo, error) {
	t.Helper()
	resp, err := s.Move(t.Context(), connect.NewRequest(&filesystempb.MoveRequest{Source: src, Destination: dst}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetEntry(), nil
}

// list names the files of a tree, with the kind of each.
func list(t *testing.T, root string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != root {
			out = append(out, strings.TrimPrefix(p, root+"/")+" "+d.Type().String()[:1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, ", ")
}

func TestMoveToAnotherFileSystemKeepsEverything(t *testing.T) {
	s, home := newService(t)
	other := otherFileSystem(t)
	src := home + "/src"
	write(t, src+"/a/tool", "text")
	when := time.Unix(1600000000, 0)
	f, err := os.OpenFile(src+"/a/tool", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Older kernels keep no attributes on a tmpfs.
	keeps := unix.Setxattr(other, "user.probe", nil, 0) == nil
	if keeps {
		err = metadata.Replace(f, map[string]string{"k": "v"})
	}
	err = errors.Join(err, os.Symlink("a/tool", src+"/link"), os.Symlink("nowhere", src+"/dangling"),
		os.Lchown(src+"/link", 4242, 4343), os.Chown(src+"/a/tool", 4242, 4343), os.Chmod(src+"/a/tool", 0o750|fs.ModeSetuid),
		os.Chtimes(src+"/a/tool", when, when), os.Chmod(src+"/a", 0o700))
	if err != nil {
		t.Fatal(err)
	}
	before := list(t, src)
	e, err := s.moveFor(t, src, other+"/new/dst")
	if err != nil {
		t.Fatal(err)
	}
	if e.GetPath() != other+"/new/dst" || e.GetType() != filesystempb.FileType_FILE_TYPE_DIRECTORY {
		t.Errorf("entry %v", e)
	}
	if after := list(t, other+"/new/dst"); after != before || list(t, other+"/new") != "dst d, dst/"+strings.ReplaceAll(before, ", ", ", dst/") {
		t.Errorf("moved %q, want %q", list(t, other+"/new"), before)
	}
	if list(t, home) != "" {
		t.Errorf("left behind: %s", list(t, home))
	}
	entry, err := s.entry(other + "/new/dst/a/tool")
	if err != nil {
		t.Fatal(err)
	}
	if entry.GetOwner() != "ann" || entry.GetGroup() != "staff" || entry.GetPermissions() != "urwxr-x---" || !entry.GetModifiedTime().AsTime().Equal(when) {
		t.Errorf("entry %v", entry)
	}
	link, err := s.entry(other + "/new/dst/link")
	if err != nil || link.GetOwner() != "ann" || !link.GetIsSymlink() || link.GetSymlinkTarget() != other+"/new/dst/a/tool" {
		t.Errorf("link %v, %v", link, err)
	}
	if got := metadata.Read(other + "/new/dst/a/tool"); keeps && got["k"] != "v" {
		t.Errorf("metadata %v", got)
	}
}

// A move that fails half way leaves the source as it was and no copy.
func TestFailedMoveToAnotherFileSystem(t *testing.T) {
	for name, prepare := range map[string]func(src string) error{
		"special file": func(src string) error { return syscall.Mkfifo(src+"/z", 0o600) },
		"disk full":    func(src string) error { return os.WriteFile(src+"/z", make([]byte, 2<<20), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s, home := newService(t)
			other := otherFileSystem(t)
			write(t, home+"/src/a", "precious")
			if err := prepare(home + "/src"); err != nil {
				t.Fatal(err)
			}
			before := list(t, home)
			_, err := s.moveFor(t, home+"/src", other+"/dst")
			want := map[string]connect.Code{"special file": connect.CodeInvalidArgument, "disk full": connect.CodeResourceExhausted}[name]
			if connect.CodeOf(err) != want {
				t.Errorf("%v, want %v", err, want)
			}
			if list(t, other) != "" || list(t, home) != before {
				t.Errorf("destination has %q, source %q", list(t, other), list(t, home))
			}
		})
	}
}

func TestMoveIntoItself(t *testing.T) {
	s, home := newService(t)
	write(t, home+"/src/a", "precious")
	if _, err := s.moveFor(t, home+"/src", home+"/src/b/c"); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(home + "/src/a"); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

func TestListStopsWhenItsClientLeaves(t *testing.T) {
	s, home := newService(t)
	write(t, home+"/a/b", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.ListDir(ctx, connect.NewRequest(&filesystempb.ListDirRequest{Path: home, Depth: 2}))
	if connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("%v", err)
	}
}

func TestNamesThatAreNoText(t *testing.T) {
	s, home := newService(t)
	write(t, home+"/a\xffb", "")
	resp, err := s.ListDir(t.Context(), connect.NewRequest(&filesystempb.ListDirRequest{Path: home}))
	if err != nil || len(resp.Msg.GetEntries()) != 1 || resp.Msg.GetEntries()[0].GetName() != "a\uFFFDb" {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestWireError(t *testing.T) {
	for errno, want := range map[syscall.Errno]connect.Code{
		syscall.ENOENT: connect.CodeNotFound, syscall.EEXIST: connect.CodeAlreadyExists, syscall.ENOTEMPTY: connect.CodeAlreadyExists,
		syscall.EACCES: connect.CodePermissionDenied, syscall.EROFS: connect.CodePermissionDenied,
		syscall.ENOSPC: connect.CodeResourceExhausted, syscall.EDQUOT: connect.CodeResourceExhausted, syscall.EMFILE: connect.CodeResourceExhausted,
		syscall.ENOTDIR: connect.CodeInvalidArgument, syscall.ELOOP: connect.CodeInvalidArgument, syscall.ENAMETOOLONG: connect.CodeInvalidArgument,
		syscall.EBUSY: connect.CodeFailedPrecondition, syscall.EIO: connect.CodeInternal,
	} {
		err := wireError("file", "/p", fmt.Errorf("wrapped: %w", &fs.PathError{Op: "op", Path: "/p", Err: errno}))
		if connect.CodeOf(err) != want || !strings.Contains(err.Error(), "/p") {
			t.Errorf("%v: %v, want %v", errno, err, want)
		}
	}
}
