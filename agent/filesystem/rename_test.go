//go:build linux

package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// watching is a recursive watch of a directory "in", beside which is "out".
type watching struct {
	t    *testing.T
	tree *tree
	base string
	n    int
}

func newWatching(t *testing.T, dirs ...string) *watching {
	t.Helper()
	s, _ := newService(t)
	w := &watching{t: t, base: t.TempDir()}
	w.mkdir(append([]string{"in", "out"}, dirs...)...)
	w.watch(s, "in")
	return w
}

func (w *watching) watch(s *Service, name string) {
	w.t.Helper()
	tree, err := s.watch(filepath.Join(w.base, name), true, false, false)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(tree.close)
	w.tree = tree
}

func (w *watching) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) mkdir(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.must(os.MkdirAll(filepath.Join(w.base, name), 0o755))
	}
}

func (w *watching) touch(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.must(os.WriteFile(filepath.Join(w.base, name), nil, 0o644))
	}
}

func (w *watching) rename(from, to string) {
	w.t.Helper()
	w.must(unix.Rename(filepath.Join(w.base, from), filepath.Join(w.base, to)))
}

func (w *watching) exchange(a, b string) {
	w.t.Helper()
	w.must(unix.Renameat2(unix.AT_FDCWD, filepath.Join(w.base, a), unix.AT_FDCWD, filepath.Join(w.base, b), unix.RENAME_EXCHANGE))
}

// events returns what clients get for all that was done until now.
func (w *watching) events() (out []string) {
	w.t.Helper()
	w.n++
	last := fmt.Sprintf("last-%d", w.n)
	w.touch("in/" + last)
	for come := false; !come || w.tree.mark != 0; {
		var batch []kernelEvent
		select {
		case batch = <-w.tree.kernel.events:
		case err := <-w.tree.kernel.errors:
			w.t.Fatal(err)
		}
		events, err := w.tree.translate(batch)
		w.must(err)
		for _, ev := range events {
			come = come || ev.GetName() == last
			if strings.HasPrefix(ev.GetName(), "last-") {
				continue
			}
			kind := strings.TrimPrefix(filesystempb.EventType_name[int32(ev.GetType())], "EVENT_TYPE_")
			out = append(out, kind+" "+ev.GetName())
		}
	}
	w.must(os.Remove(filepath.Join(w.base, "in", last)))
	return out
}

// probe makes a file in each directory, in the tree and outside, and wants to hear
// of those in the tree under the names that they have.
func (w *watching) probe() {
	w.t.Helper()
	w.events()
	var want []string
	w.n++
	probe := fmt.Sprintf("probe-%d", w.n)
	w.must(filepath.WalkDir(w.base, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		file := filepath.Join(path, probe)
		if name, ok := strings.CutPrefix(file, filepath.Join(w.base, "in")+"/"); ok {
			want = append(want, "CREATE "+name)
		}
		return os.WriteFile(file, nil, 0o644)
	}))
	got := w.events()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("got  %v\nwant %v", got, want)
	}
	if len(w.tree.moving) != 0 || len(w.tree.dirs) != len(want) {
		w.t.Errorf("%d renames are kept, %d directories of %d", len(w.tree.moving), len(w.tree.dirs), len(want))
	}
}

func TestAWatchKnowsDirectoriesByTheNamesTheyHave(t *testing.T) {
	for name, tc := range map[string]struct {
		dirs []string
		do   func(w *watching)
		want []string // Nil: not looked at.
	}{
		"renamed": {[]string{"in/a/b"}, func(w *watching) {
			w.rename("in/a", "in/c")
			w.touch("in/c/b/f")
		}, []string{"RENAME a", "CREATE c", "CREATE c/b/f"}},
		"again and again": {[]string{"in/a/b"}, func(w *watching) {
			w.rename("in/a", "in/c")
			w.touch("in/c/b/1")
			w.rename("in/c/b", "in/d")
			w.rename("in/c", "in/d/e")
			w.touch("in/d/2", "in/d/e/3")
		}, []string{"RENAME a", "CREATE c", "CREATE c/b/1", "RENAME c/b", "CREATE d", "RENAME c", "CREATE d/e", "CREATE d/2", "CREATE d/e/3"}},
		"name used again": {[]string{"in/a/b"}, func(w *watching) {
			w.rename("in/a", "in/c")
			w.mkdir("in/a/b")
		}, []string{"RENAME a", "CREATE c", "CREATE a", "CREATE a/b"}},
		"over an empty one": {[]string{"in/a/b", "in/c"}, func(w *watching) {
			w.rename("in/a", "in/c")
		}, []string{"RENAME a", "CREATE c"}},
		"moved out": {[]string{"in/a/b"}, func(w *watching) {
			w.rename("in/a", "out/a")
			w.touch("out/a/f", "out/a/b/f")
		}, []string{"RENAME a"}},
		"moved in": {[]string{"out/a/b"}, func(w *watching) {
			w.touch("out/a/b/f")
			w.rename("out/a", "in/a")
		}, []string{"CREATE a", "CREATE a/b", "CREATE a/b/f"}},
		"out and in":            {[]string{"in/a/b"}, func(w *watching) { w.rename("in/a", "out/a"); w.rename("out/a/b", "in/b"); w.rename("out/a", "in/c") }, nil},
		"made and moved":        {nil, func(w *watching) { w.mkdir("in/a/b"); w.rename("in/a", "in/c"); w.mkdir("in/a/d") }, nil},
		"made and moved out":    {nil, func(w *watching) { w.mkdir("in/a/b"); w.rename("in/a", "out/a"); w.mkdir("in/a/d") }, nil},
		"changed places":        {[]string{"in/a/b", "in/c/d/e"}, func(w *watching) { w.exchange("in/a", "in/c/d") }, nil},
		"changed with outside":  {[]string{"in/a/b", "out/c/d"}, func(w *watching) { w.exchange("in/a", "out/c") }, nil},
		"changed with a file":   {[]string{"in/a/b"}, func(w *watching) { w.touch("in/f"); w.exchange("in/a", "in/f") }, nil},
		"removed and made anew": {[]string{"in/a/b"}, func(w *watching) { w.must(os.RemoveAll(w.base + "/in/a")); w.mkdir("in/a/b") }, nil},
		"a tree of many": {[]string{"in/a"}, func(w *watching) {
			for i := range 300 {
				w.mkdir(fmt.Sprintf("in/a/%d/x", i))
				w.rename(fmt.Sprintf("in/a/%d", i), fmt.Sprintf("in/n%d", i))
			}
			w.rename("in/a", "in/b")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatching(t, tc.dirs...)
			tc.do(w)
			if got := w.events(); tc.want != nil && !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			w.probe()
		})
	}
}

func TestAFileSavedByARenameIsReported(t *testing.T) {
	w := newWatching(t, "out/d")
	w.touch("out/d/f", "out/new")
	w.rename("out/d", "in/d")
	w.events()
	w.rename("out/new", "in/d/f")
	if got := w.events(); !slices.Equal(got, []string{"CREATE d/f"}) {
		t.Errorf("%q", got)
	}
}

func TestTheRootOfAWatch(t *testing.T) {
	w := newWatching(t, "in/a/b")
	s, _ := newService(t)
	w.must(os.Symlink(w.base+"/in", w.base+"/link"))
	w.watch(s, "link")
	w.rename("in/a", "in/c")
	w.probe()
	// A link in the tree is not followed, not even where a directory was.
	w.must(os.RemoveAll(w.base + "/in/c"))
	w.must(os.Symlink(w.base+"/out", w.base+"/in/c"))
	w.probe()
	w.rename("in", "elsewhere")
	w.touch("elsewhere/f")
	w.must(os.MkdirAll(w.base+"/in", 0o755))
	for ended := false; !ended; {
		events, err := w.tree.translate(<-w.tree.kernel.events)
		w.must(err)
		for _, ev := range events {
			ended = ended || ev.GetName() == "." && ev.GetType() == filesystempb.EventType_EVENT_TYPE_RENAME
		}
	}
	if len(w.tree.dirs) != 0 {
		t.Errorf("%d directories of a tree that was moved are watched", len(w.tree.dirs))
	}
}

// TestAWatchAfterLostEvents knows the tree again, whatever it missed.
func TestAWatchAfterLostEvents(t *testing.T) {
	w := newWatching(t, "in/a/b", "in/c")
	w.rename("in/a", "in/c/d")
	w.mkdir("in/e/f")
	w.rename("in/c/d/b", "out/b")
	for lost := false; !lost; { // All that is queued, up to a last one.
		w.touch("in/f")
		for _, ev := range <-w.tree.kernel.events {
			lost = lost || ev.name == "f"
		}
	}
	if events, err := w.tree.translate([]kernelEvent{{watch: -1, mask: unix.IN_Q_OVERFLOW}}); err == nil {
		t.Errorf("the loss is not reported: %v", events)
	}
	w.probe()
}

func TestAWatchFollowsAnyHistory(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { anyHistory(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func anyHistory(t *testing.T, r *rand.Rand) {
	w := newWatching(t, "in/a/b", "in/b/a", "out/a")
	pick := func() string {
		parts := []string{[]string{"in", "in", "in", "out"}[r.IntN(4)]}
		for range 1 + r.IntN(3) {
			parts = append(parts, string(rune('a'+r.IntN(3))))
		}
		return filepath.Join(w.base, filepath.Join(parts...))
	}
	for range 60 {
		// Many of these fail, because the directory does not exist.
		switch r.IntN(8) {
		case 0, 1:
			_ = os.Mkdir(pick(), 0o755)
		case 2:
			_ = os.Remove(pick())
		case 3:
			_ = unix.Renameat2(unix.AT_FDCWD, pick(), unix.AT_FDCWD, pick(), unix.RENAME_EXCHANGE)
		case 4:
			if r.IntN(4) == 0 {
				w.events()
			}
		default:
			_ = unix.Rename(pick(), pick())
		}
	}
	w.probe()
}

func TestPathsThatNobodyCanUseAreNotReported(t *testing.T) {
	n := &node{}
	for range 40 {
		n = &node{parent: n, name: strings.Repeat("d", 200)}
	}
	if path, ok := n.path("f"); ok {
		t.Errorf("%d bytes", len(path))
	}
}

// TestDirectoriesThatAreTooDeepEndNoWatch are there before one of the watches, and
// come during the other.
func TestDirectoriesThatAreTooDeepEndNoWatch(t *testing.T) {
	root := t.TempDir()
	var watches []*tree
	watch := func() {
		tr, err := (&Service{}).watch(root, true, false, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(tr.close)
		watches = append(watches, tr)
	}
	watch()
	dir, err := unix.Open(root, unix.O_DIRECTORY, 0)
	for range 25 {
		name := strings.Repeat("d", 200)
		if err := errors.Join(err, unix.Mkdirat(dir, name, 0o755)); err != nil {
			t.Fatal(err)
		}
		var below int
		below, err = unix.Openat(dir, name, unix.O_DIRECTORY, 0)
		_ = unix.Close(dir)
		dir = below
	}
	_ = unix.Close(dir)
	watch()
	if err := os.WriteFile(root+"/last", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tr := range watches {
		for seen := false; !seen; {
			events, err := tr.translate(<-tr.kernel.events)
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				seen = seen || ev.GetName() == "last"
			}
		}
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff\xffname"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ev := range parseEvents(b) {
			if len(ev.name) > len(b) || strings.ContainsRune(ev.name, 0) {
				t.Errorf("%q", ev.name)
			}
		}
	})
}
