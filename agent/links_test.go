//go:build linux

package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// link is what clients see of a symbolic link.
type link struct {
	kind   filesystempb.FileType
	mode   uint32
	target string // "" is the link itself
}

// links makes links of every kind in a new directory "l" of the guest.
func (g *guest) links(t *testing.T) (dir string, want map[string]link) {
	t.Helper()
	dir = g.home + "/l"
	for _, err := range []error{
		os.MkdirAll(dir+"/d", 0o750), os.WriteFile(dir+"/f", []byte("12345"), 0o640), unix.Mkfifo(dir+"/p", 0o600),
		os.Symlink("f", dir+"/file"), os.Symlink(dir+"/d", dir+"/directory"), os.Symlink("file", dir+"/link"),
		os.Symlink("nowhere", dir+"/dangling"), os.Symlink("loop", dir+"/loop"), os.Symlink("f/below", dir+"/below"), os.Symlink("p", dir+"/pipe"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const (
		file    = filesystempb.FileType_FILE_TYPE_FILE
		folder  = filesystempb.FileType_FILE_TYPE_DIRECTORY
		unknown = filesystempb.FileType_FILE_TYPE_UNSPECIFIED
	)
	return dir, map[string]link{
		"file": {file, 0o640, dir + "/f"}, "link": {file, 0o640, dir + "/f"}, "directory": {folder, 0o750, dir + "/d"}, "pipe": {unknown, 0o600, dir + "/p"},
		"dangling": {unknown, 0, ""}, "loop": {unknown, 0, ""}, "below": {unknown, 0, ""},
	}
}

func (l link) check(t *testing.T, e *filesystempb.EntryInfo) {
	t.Helper()
	if l.target == "" {
		l.target = e.GetPath()
	}
	own, err := os.Lstat(e.GetPath())
	if err != nil {
		t.Fatal(err)
	}
	if e.GetType() != l.kind || e.GetMode() != l.mode || e.GetSymlinkTarget() != l.target || !e.GetIsSymlink() ||
		e.GetPermissions() != "Lrwxrwxrwx" || e.GetSize() != own.Size() || e.GetName() != filepath.Base(e.GetPath()) {
		t.Errorf("%v, want %+v", e, l)
	}
}

// Older clients know a link by the type of its target, newer ones by is_symlink:
// a link is described so wherever there are entries.
func TestLinksAreDescribedByTheirTargets(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		dir, want := g.links(t)
		for name, l := range want {
			e, err := g.stat(t, dir+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			l.check(t, e)
		}
		list, err := g.fs.ListDir(t.Context(), as("user", &filesystempb.ListDirRequest{Path: dir, Depth: 9}))
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range list.Msg.GetEntries() {
			if l, ok := want[e.GetName()]; ok {
				l.check(t, e)
				seen++
			} else if e.GetIsSymlink() || e.SymlinkTarget != nil {
				t.Errorf("not a link: %v", e)
			}
		}
		if seen != len(want) || len(list.Msg.GetEntries()) != len(want)+3 {
			t.Errorf("%d links in %v", seen, list.Msg.GetEntries())
		}
		moved, err := g.fs.Move(t.Context(), as("user", &filesystempb.MoveRequest{Source: dir + "/directory", Destination: dir + "/moved"}))
		if err != nil {
			t.Fatal(err)
		}
		want["directory"].check(t, moved.Msg.GetEntry())
	})
}

func TestLinksInWatchEntriesAreDescribedByTheirTargets(t *testing.T) {
	g := newGuest(t)
	dir, want := g.links(t)
	created, err := g.fs.CreateWatcher(t.Context(), as("user", &filesystempb.CreateWatcherRequest{Path: g.home, IncludeEntry: true}))
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if err := os.Rename(dir+"/"+name, g.home+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	// Relative ones lead nowhere in the other directory.
	for _, name := range []string{"file", "link", "pipe"} {
		want[name] = link{}
	}
	seen := map[string]bool{}
	eventually(t, "the events", func() bool {
		got, err := g.fs.GetWatcherEvents(t.Context(), as("user", &filesystempb.GetWatcherEventsRequest{WatcherId: created.Msg.GetWatcherId()}))
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range got.Msg.GetEvents() {
			if l, ok := want[ev.GetName()]; ok && ev.GetEntry() != nil {
				l.check(t, ev.GetEntry())
				seen[ev.GetName()] = true
			}
		}
		return len(seen) == len(want)
	})
}
