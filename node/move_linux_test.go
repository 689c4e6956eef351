package node_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/move"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// A template goes to another node, by each way, and its sandboxes do there what they would here: also after a pause, a snapshot, a
// restart and another move.
func TestATemplateMovesToAnotherNode(t *testing.T) {
	from := config(t)
	registryOf(t, &from)
	server := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, 0))))
	defer server.Close()
	here := open(t, from)
	recipe := sandbox.Recipe{FromImage: "test/minimal:1", Steps: []sandbox.RecipeStep{
		{Type: "ENV", Args: []string{"GREETING", "hello"}}, {Type: "WORKDIR", Args: []string{"/srv/app"}}, {Type: "RUN", Args: []string{"echo $GREETING >said"}},
	}, StartCmd: "echo begun >>count; while sleep 0.1; do date >beat; done", ReadyCmd: "test -s /srv/app/beat"}
	build(t, here, sandbox.TemplateRequest{Name: "mine", VCPUs: 1, MemoryMiB: 400}, recipe)
	repository := sandbox.Repository{URL: "https://git.example/app", Commit: strings.Repeat("a", 40), Checkout: "/srv/app", User: "user"}
	ofBuild(t, here, "mine", sandbox.DefaultTag, func(n *store.Snapshot) { n.Defaults.Repository = repository })
	dir := t.TempDir()
	places := map[string]string{"registry": strings.TrimPrefix(server.URL, "http://") + "/team/mine:1", "directory": "oci:" + filepath.Join(dir, "layout"), "file": filepath.Join(dir, "mine.tar")}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	pushed := map[string]move.Moved{}
	for way, place := range places {
		begin := time.Now()
		m, err := move.Push(t.Context(), "mine", place, move.Config{Dirs: here.Dirs, Log: log})
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		t.Logf("%s: pushed %d MiB in %v", way, m.Bytes>>20, time.Since(begin))
		pushed[way] = m
	}
	look := `echo "$(pwd) $GREETING $FROM_IMAGE"; cat said count; rm -f beat; while ! test -s beat; do sleep 0.05; done; echo alive`
	want := "/srv/app hello yes\nhello\nbegun\nalive\n"
	shut(t, here, node.EndAll)

	there := open(t, config(t))
	use := func(template string) sandbox.Sandbox {
		t.Helper()
		sb, err := there.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: template, Timeout: time.Hour})
		if err != nil {
			t.Fatalf("%s: %v", template, err)
		}
		if got := output(t, there, sb, look); got != want {
			t.Errorf("%s: got %q, want %q", template, got, want)
		}
		return sb
	}
	var last sandbox.Sandbox
	for way, place := range places {
		begin := time.Now()
		m, err := move.Pull(t.Context(), place, way+":v1", move.Config{Dirs: there.Dirs, Log: log})
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		if m.Digest != pushed[way].Digest || m.Template != way+":v1" {
			t.Errorf("%s: pulled %+v, pushed %+v", way, m, pushed[way])
		}
		t.Logf("%s: pulled in %v", way, time.Since(begin))
		last = use(way + ":v1")
	}
	ofBuild(t, there, "file", "v1", func(n *store.Snapshot) {
		if n.Defaults.Repository != repository {
			t.Errorf("its repository is %+v", n.Defaults.Repository)
		}
	})
	if left, err := os.ReadDir(there.Dirs.Pulls()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left are %v, %v", left, err)
	}
	if roots, err := filepath.Glob(filepath.Join(there.Dirs.Images(), "*.erofs")); err != nil || len(roots) != 1 {
		t.Errorf("one root for all: %q, %v", roots, err)
	}

	if err := there.Runtime.Pause(t.Context(), last.ID, true); err != nil {
		t.Fatal(err)
	}
	shut(t, there, node.LeaveAll)
	there = open(t, node.Config{Dirs: there.Dirs, NoUplink: true, NetworkSlots: -1})
	if _, _, err := there.Runtime.Connect(t.Context(), last.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := output(t, there, last, look); got != want {
		t.Errorf("after a pause: got %q", got)
	}
	if _, err := there.Runtime.Snapshot(t.Context(), last.ID, "saved", ""); err != nil {
		t.Fatal(err)
	}
	use("saved")
	build(t, there, sandbox.TemplateRequest{Name: "child"}, sandbox.Recipe{FromTemplate: "file:v1", Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"true"}}}})
	use("child")

	// Another move, over a template that is there already.
	for _, name := range []string{"file:v1", "child"} {
		if _, err := move.Push(t.Context(), name, "oci:"+filepath.Join(dir, "second"), move.Config{Dirs: there.Dirs, Log: log}); err != nil {
			t.Fatal(err)
		}
	}
	third := open(t, config(t))
	there = third
	for _, name := range []string{"file:v1", "child"} {
		for range 2 {
			if _, err := move.Pull(t.Context(), "oci:"+filepath.Join(dir, "second"), name, move.Config{Dirs: third.Dirs, Log: log}); err != nil {
				t.Fatal(err)
			}
		}
		use(name)
	}
	if saved, err := filepath.Glob(filepath.Join(third.Dirs.DriverState("gvisor"), "snapshots", "bld-*", "*")); err != nil || len(saved) != 2 {
		t.Errorf("the snapshots of former builds are there: %q, %v", saved, err)
	}
}

// ofBuild changes the row of the build that a tag of a template means.
func ofBuild(t *testing.T, n *node.Node, name, tag string, change func(*store.Snapshot)) {
	t.Helper()
	db, err := store.Open(t.Context(), n.Dirs.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	template, err := db.Builds.Template(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	build, err := db.Builds.Tagged(t.Context(), template.ID, tag)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := db.Snapshots.Get(t.Context(), build.SnapshotID)
	if err != nil {
		t.Fatal(err)
	}
	change(&claim)
	if err := db.Snapshots.Put(t.Context(), &claim); err != nil {
		t.Fatal(err)
	}
}

// A template that shows the host's /usr stays where it is, and the error says what to do.
func TestHostFilesDoNotMove(t *testing.T) {
	cfg := config(t)
	n := open(t, cfg)
	build(t, n, sandbox.TemplateRequest{Name: "mine"}, sandbox.Recipe{FromTemplate: "base"})
	file := filepath.Join(t.TempDir(), "x.tar")
	_, err := move.Push(t.Context(), "mine", file, move.Config{Dirs: n.Dirs, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "directories of this host") {
		t.Errorf("%v", err)
	}
	if _, err := move.Push(t.Context(), "none", file, move.Config{Dirs: n.Dirs}); !errors.Is(err, sandbox.ErrTemplateNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it left a file: %v", err)
	}
}
