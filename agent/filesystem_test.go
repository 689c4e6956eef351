//go:build linux

package agent_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

func (g *guest) stat(t *testing.T, path string) (*filesystempb.EntryInfo, error) {
	t.Helper()
	resp, err := g.fs.Stat(t.Context(), as("user", &filesystempb.StatRequest{Path: path}))
	if err != nil {
		return nil, err
	}
	return resp.Msg.GetEntry(), nil
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestStat(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		put(t, g.home+"/f.txt", "12345")
		when := time.Unix(1700000000, 123456789)
		if err := os.Chtimes(g.home+"/f.txt", when, when); err != nil {
			t.Fatal(err)
		}
		e, err := g.stat(t, "~/f.txt")
		if err != nil {
			t.Fatal(err)
		}
		if e.GetName() != "f.txt" || e.GetPath() != g.home+"/f.txt" || e.GetSize() != 5 || e.GetMode() != 0o644 || e.GetPermissions() != "-rw-r--r--" ||
			e.GetOwner() != "root" || e.GetGroup() != "root" || e.GetType() != filesystempb.FileType_FILE_TYPE_FILE ||
			!e.GetModifiedTime().AsTime().Equal(when) || e.SymlinkTarget != nil || e.GetIsSymlink() {
			t.Errorf("file %v", e)
		}
		if e, err = g.stat(t, ""); err != nil || e.GetPath() != g.home || e.GetOwner() != "user" || e.GetType() != filesystempb.FileType_FILE_TYPE_DIRECTORY {
			t.Errorf("home %v %v", e, err)
		}
		_, err = g.stat(t, "missing")
		wantCode(t, err, connect.CodeNotFound, "")
		_, err = g.stat(t, "f.txt/below")
		wantCode(t, err, connect.CodeInvalidArgument, "")
		_, err = g.stat(t, "~other/x")
		wantCode(t, err, connect.CodeInvalidArgument, "")
		_, err = g.stat(t, "a\x00b")
		wantCode(t, err, connect.CodeInvalidArgument, "")
		_, err = g.stat(t, strings.Repeat("x", 300))
		wantCode(t, err, connect.CodeInvalidArgument, "")
		_, err = g.fs.Stat(t.Context(), as("ghost", &filesystempb.StatRequest{Path: "/"}))
		wantCode(t, err, connect.CodeUnauthenticated, "invalid username: 'ghost'")
	})
}

func TestMakeDirMoveRemove(t *testing.T) {
	g := newGuest(t)
	mkdir := func(path string) (*filesystempb.EntryInfo, error) {
		resp, err := g.fs.MakeDir(t.Context(), as("user", &filesystempb.MakeDirRequest{Path: path}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetEntry(), nil
	}
	move := func(src, dst string) (*filesystempb.EntryInfo, error) {
		resp, err := g.fs.Move(t.Context(), as("user", &filesystempb.MoveRequest{Source: src, Destination: dst}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetEntry(), nil
	}
	remove := func(path string) error {
		_, err := g.fs.Remove(t.Context(), as("user", &filesystempb.RemoveRequest{Path: path}))
		return err
	}
	e, err := mkdir("a/b/c")
	if err != nil || e.GetPath() != g.home+"/a/b/c" || e.GetOwner() != "user" {
		t.Fatalf("%v %v", e, err)
	}
	if parent, err := g.stat(t, "a"); err != nil || parent.GetOwner() != "user" {
		t.Errorf("parent %v %v", parent, err)
	}
	_, err = mkdir("a/b/c")
	wantCode(t, err, connect.CodeAlreadyExists, "directory already exists: "+g.home+"/a/b/c")
	put(t, g.home+"/file", "x")
	_, err = mkdir("file")
	wantCode(t, err, connect.CodeInvalidArgument, "")
	_, err = mkdir("file/below")
	wantCode(t, err, connect.CodeInvalidArgument, "")
	if err := os.Symlink("nowhere", g.home+"/dangling"); err != nil {
		t.Fatal(err)
	}
	_, err = mkdir("dangling/x")
	wantCode(t, err, connect.CodeNotFound, "")

	e, err = move("file", "new/parent/moved")
	if err != nil || e.GetName() != "moved" || e.GetPath() != g.home+"/new/parent/moved" {
		t.Fatalf("%v %v", e, err)
	}
	if parent, err := g.stat(t, "new/parent"); err != nil || parent.GetOwner() != "user" {
		t.Errorf("parent %v %v", parent, err)
	}
	_, err = move("missing", "x")
	wantCode(t, err, connect.CodeNotFound, "")
	_, err = move("a", "a/b/inside")
	wantCode(t, err, connect.CodeInvalidArgument, "")

	if err := remove("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.home + "/a"); !os.IsNotExist(err) {
		t.Errorf("a is still there: %v", err)
	}
	if err := remove("a"); err != nil {
		t.Errorf("missing: %v", err)
	}
	wantCode(t, remove("/"), connect.CodeInvalidArgument, "")
	wantCode(t, remove("/a/../.."), connect.CodeInvalidArgument, "")
}

// A move to another file system keeps owner, mode, time and links.
func TestMoveAcross(t *testing.T) {
	g := newGuest(t)
	other, err := os.MkdirTemp("/dev/shm", "rundlet-agent-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(other) })
	var a, b syscall.Stat_t
	if syscall.Stat(other, &a) != nil || syscall.Stat(g.home, &b) != nil || a.Dev == b.Dev {
		t.Fatal("/dev/shm is on the same file system as the test directory")
	}
	put(t, g.home+"/tree/sub/f", "text")
	when := time.Unix(1600000000, 0)
	for _, err := range []error{
		os.Chown(g.home+"/tree/sub/f", userID, userID), os.Chmod(g.home+"/tree/sub/f", 0o640),
		os.Chtimes(g.home+"/tree/sub/f", when, when), os.Symlink("sub/f", g.home+"/tree/link"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.fs.Move(t.Context(), as("user", &filesystempb.MoveRequest{Source: "tree", Destination: other + "/deep/tree"})); err != nil {
		t.Fatal(err)
	}
	e, err := g.stat(t, other+"/deep/tree/sub/f")
	if err != nil || e.GetOwner() != "user" || e.GetMode() != 0o640 || e.GetSize() != 4 || !e.GetModifiedTime().AsTime().Equal(when) {
		t.Errorf("%v %v", e, err)
	}
	if l, err := os.Readlink(other + "/deep/tree/link"); l != "sub/f" {
		t.Errorf("link %q %v", l, err)
	}
	if _, err := os.Stat(g.home + "/tree"); !os.IsNotExist(err) {
		t.Errorf("source is still there: %v", err)
	}
	if left, _ := filepath.Glob(other + "/deep/.move-*"); len(left) != 0 {
		t.Errorf("left behind %v", left)
	}
}

func TestListDir(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		put(t, g.home+"/d/b/c/deep", "")
		put(t, g.home+"/d/a", "")
		for link, target := range map[string]string{"/to-d": "d", "/d/z": "b"} {
			if err := os.Symlink(target, g.home+link); err != nil {
				t.Fatal(err)
			}
		}
		list := func(path string, depth uint32) ([]string, error) {
			resp, err := g.fs.ListDir(t.Context(), as("user", &filesystempb.ListDirRequest{Path: path, Depth: depth}))
			if err != nil {
				return nil, err
			}
			var names []string
			for _, e := range resp.Msg.GetEntries() {
				names = append(names, strings.TrimPrefix(e.GetPath(), g.home))
			}
			return names, nil
		}
		for _, tc := range []struct {
			path  string
			depth uint32
			want  []string
		}{
			{"d", 0, []string{"/d/a", "/d/b", "/d/z"}},
			{"d", 1, []string{"/d/a", "/d/b", "/d/z"}},
			{"d", 2, []string{"/d/a", "/d/b", "/d/b/c", "/d/z"}},
			{"d", 1 << 31, []string{"/d/a", "/d/b", "/d/b/c", "/d/b/c/deep", "/d/z"}},
			{"to-d", 2, []string{"/to-d/a", "/to-d/b", "/to-d/b/c", "/to-d/z"}},
			{"d/b/c/../c", 1, []string{"/d/b/c/deep"}},
		} {
			if got, err := list(tc.path, tc.depth); err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%s depth %d: %v %v, want %v", tc.path, tc.depth, got, err, tc.want)
			}
		}
		_, err := list("d/a", 1)
		wantCode(t, err, connect.CodeInvalidArgument, "")
		_, err = list("none", 1)
		wantCode(t, err, connect.CodeNotFound, "")
	})
}

// seen collects events until all wanted ones came.
type seen map[string]bool

func (s seen) add(ev *filesystempb.FilesystemEvent) {
	s[strings.TrimPrefix(ev.GetType().String(), "EVENT_TYPE_")+" "+ev.GetName()] = true
}

func (s seen) has(want []string) bool {
	for _, w := range want {
		if !s[w] {
			return false
		}
	}
	return true
}

func TestWatchDir(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		put(t, g.home+"/w/sub/old", "x")
		s, err := g.fs.WatchDir(t.Context(), as("user", &filesystempb.WatchDirRequest{Path: "w", Recursive: true, IncludeEntry: true}))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if !s.Receive() || s.Msg().GetStart() == nil {
			t.Fatalf("first message %v %v", s.Msg(), s.Err())
		}
		put(t, g.home+"/w/new/er/f", "text")
		put(t, g.home+"/w/sub/old", "changed")
		if err := os.Chmod(g.home+"/w/sub/old", 0o600); err != nil {
			t.Fatal(err)
		}
		got := seen{}
		until := func(want ...string) {
			t.Helper()
			for !got.has(want) {
				if !s.Receive() {
					t.Fatalf("ended with %v, got %v", s.Err(), got)
				}
				ev := s.Msg().GetFilesystem()
				got.add(ev)
				gone := ev.GetType() == filesystempb.EventType_EVENT_TYPE_REMOVE || ev.GetType() == filesystempb.EventType_EVENT_TYPE_RENAME
				if ev.GetName() == "new/er/f" && !gone && ev.GetEntry().GetPath() != g.home+"/w/new/er/f" {
					t.Errorf("entry of %v", ev)
				}
			}
		}
		until("CREATE new", "CREATE new/er", "CREATE new/er/f", "WRITE sub/old", "CHMOD sub/old")
		// The new directories are watched by now.
		put(t, g.home+"/w/new/er/second", "")
		if err := os.Rename(g.home+"/w/sub/old", g.home+"/w/renamed"); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(g.home + "/w/new/er/f"); err != nil {
			t.Fatal(err)
		}
		until("CREATE new/er/second", "RENAME sub/old", "CREATE renamed", "REMOVE new/er/f")
	})
}

func TestPolledWatcher(t *testing.T) {
	g := newGuest(t)
	put(t, g.home+"/w/sub/x", "")
	create := func(path string) (string, error) {
		resp, err := g.fs.CreateWatcher(t.Context(), as("user", &filesystempb.CreateWatcherRequest{Path: path}))
		if err != nil {
			return "", err
		}
		return resp.Msg.GetWatcherId(), nil
	}
	events := func(id string) ([]*filesystempb.FilesystemEvent, error) {
		resp, err := g.fs.GetWatcherEvents(t.Context(), connect.NewRequest(&filesystempb.GetWatcherEventsRequest{WatcherId: id}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetEvents(), nil
	}
	id, err := create("w")
	if err != nil {
		t.Fatal(err)
	}
	put(t, g.home+"/w/sub/unseen", "")
	put(t, g.home+"/w/seen", "text")
	got := seen{}
	eventually(t, "creation and writing of a file", func() bool {
		list, err := events(id)
		if err != nil {
			t.Fatalf("got %v, %v", got, err)
		}
		for _, ev := range list {
			got.add(ev)
			if ev.GetEntry() != nil || strings.Contains(ev.GetName(), "/") {
				t.Errorf("event %v", ev)
			}
		}
		return got.has([]string{"CREATE seen", "WRITE seen"})
	})
	if _, err := g.fs.RemoveWatcher(t.Context(), connect.NewRequest(&filesystempb.RemoveWatcherRequest{WatcherId: id})); err != nil {
		t.Fatal(err)
	}
	_, err = events(id)
	wantCode(t, err, connect.CodeNotFound, "")
	_, err = g.fs.RemoveWatcher(t.Context(), connect.NewRequest(&filesystempb.RemoveWatcherRequest{WatcherId: id}))
	wantCode(t, err, connect.CodeNotFound, "")
	_, err = create("none")
	wantCode(t, err, connect.CodeNotFound, "")
	_, err = create("w/seen")
	wantCode(t, err, connect.CodeInvalidArgument, "")
	// A watcher that is not removed ends with the server.
	if _, err := create("w"); err != nil {
		t.Fatal(err)
	}
}
