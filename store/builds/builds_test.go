package builds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/database"
	"github.com/rundlet/rundlet/store/internal/table"
)

func open(t *testing.T) (Tables, *database.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := database.Create(path); err != nil {
		t.Fatal(err)
	}
	db := database.Open(path, "journal_mode(WAL)")
	t.Cleanup(func() { db.CloseAsItIs() })
	if err := errors.Join(db.Migrate(t.Context(), os.DirFS("../migrations")), db.ReadVersion(t.Context())); err != nil {
		t.Fatal(err)
	}
	return In(db), db
}

func at(second int) time.Time { return time.Unix(int64(1_700_000_000+second), 0).UTC() }

func begin(t *testing.T, s Tables, id string, second int) Build {
	t.Helper()
	b := Build{ID: id, State: sandbox.BuildWaiting, Tags: []string{"default"}, VCPUs: 1, MemoryMiB: 2, DiskMiB: 3, KeyID: "k", CreatedAt: at(second),
		LogID: "l1"}
	tpl := Template{ID: "t-" + id, Name: "mine", KeyID: "k", CreatedAt: at(second)}
	if err := s.Begin(t.Context(), &tpl, &b, Bounds{Waiting: 100, Templates: 100, Since: at(0)}); err != nil {
		t.Fatal(err)
	}
	if tpl.ID != "t-b1" || b.TemplateID != "t-b1" {
		t.Fatalf("the template is %s, and that of the build %s", tpl.ID, b.TemplateID)
	}
	return b
}

func ready(t *testing.T, s Tables, b *Build, snapshot string, tags ...string) {
	t.Helper()
	b.State, b.SnapshotID, b.Tags = sandbox.BuildReady, snapshot, tags
	if err := s.Ready(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func ids(all []Build) (out []string) {
	for _, b := range all {
		out = append(out, b.ID)
	}
	return out
}

func TestBuildsAreKept(t *testing.T) {
	s, db := open(t)
	claim(t, db, "s1", "s2")
	ctx := t.Context()
	b1 := begin(t, s, "b1", 1)
	got, err := s.Get(ctx, "b1")
	want := b1
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	stale := b1
	ready(t, s, &b1, "s1", "default", "v1")
	stale.State = sandbox.BuildFailed
	if err := s.Put(ctx, &stale); !errors.Is(err, table.ErrStale) {
		t.Errorf("a stale row: %v", err)
	}
	b2 := begin(t, s, "b2", 2)
	ready(t, s, &b2, "s2", "default")
	b3 := begin(t, s, "b3", 3)
	b3.State, b3.Step, b3.Message, b3.FinishedAt = sandbox.BuildFailed, "2", "why", at(9)
	if err := s.Put(ctx, &b3); err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[string]string{"default": "b2", "v1": "b1"} {
		if got, err := s.Tagged(ctx, "t-b1", tag); err != nil || got.ID != want {
			t.Errorf("%s is %s, %v", tag, got.ID, err)
		}
	}
	if got, err := s.Of(ctx, "t-b1"); err != nil || !slices.Equal(ids(got), []string{"b3", "b2", "b1"}) || got[0].Message != "why" {
		t.Errorf("%+v, %v", got, err)
	}
	begin(t, s, "b4", 4)
	if got, err := s.Unfinished(ctx); err != nil || !slices.Equal(ids(got), []string{"b4"}) {
		t.Errorf("%v, %v", ids(got), err)
	}
	for _, name := range []string{"t-b1", "mine"} {
		if got, err := s.Template(ctx, name); err != nil || got.ID != "t-b1" || got.Name != "mine" || got.CreatedAt != at(1) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for what, err := range map[string]error{
		"a build":    second(s.Get(ctx, "none")),
		"a template": second(s.Template(ctx, "none")),
		"a tag":      second(s.Tagged(ctx, "t-b1", "none")),
		"to tag":     s.Tag(ctx, "t-b1", "b3", []string{"x"}), // It failed.
		"to publish": s.SetPublic(ctx, "none", true),
	} {
		if !errors.Is(err, table.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAKeyHasABoundedNumber(t *testing.T) {
	s, _ := open(t)
	made := func(name, key string, second int) error {
		return s.Begin(t.Context(), &Template{ID: "t-" + name + key, Name: name, KeyID: key, CreatedAt: at(second)},
			&Build{ID: name + key + fmt.Sprint(second), State: sandbox.BuildWaiting, KeyID: key, CreatedAt: at(second)},
			Bounds{Waiting: 3, Templates: 2, Since: at(5)})
	}
	full := new(BoundError)
	if err := errors.Join(made("a", "k1", 5), made("b", "k1", 6), made("a", "k1", 7)); err != nil {
		t.Fatal(err)
	}
	if err := made("a", "k1", 8); !errors.As(err, &full) || *full != (BoundError{3, true}) {
		t.Errorf("a fourth build that waits: %v", err)
	}
	if err := made("c", "k2", 8); err != nil {
		t.Errorf("another key: %v", err)
	}
	all, err := s.Unfinished(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		if b.State = sandbox.BuildFailed; b.KeyID == "k1" {
			if err := s.Put(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := made("d", "k1", 9); !errors.As(err, &full) || *full != (BoundError{2, false}) {
		t.Errorf("a third template: %v", err)
	}
	if err := made("b", "k1", 9); err != nil {
		t.Errorf("a build of one that is there: %v", err)
	}
}

func TestWhatWaitedTooLongIsRemoved(t *testing.T) {
	s, _ := open(t)
	for second, name := range []string{"old", "other", "new"} {
		b := Build{ID: name, State: sandbox.BuildWaiting, KeyID: "k", CreatedAt: at(second)}
		if err := s.Begin(t.Context(), &Template{ID: "t-" + name, Name: name, KeyID: "k", CreatedAt: at(second)}, &b, Bounds{Waiting: 1, Templates: 1, Since: at(second)}); err != nil {
			t.Fatal(err)
		}
	}
	left, err := s.Unfinished(t.Context())
	templates, listed := s.Templates(t.Context())
	if err != nil || listed != nil || !slices.Equal(ids(left), []string{"new"}) || len(templates) != 1 || templates[0].Name != "new" {
		t.Errorf("left: %v, %v, %v, %v", ids(left), templates, err, listed)
	}
}

func TestALogGoesWithTheLastOfItsBuilds(t *testing.T) {
	s, db := open(t)
	claim(t, db, "s1")
	ctx := t.Context()
	lines := []sandbox.BuildLog{{Time: at(1), Level: "info", Step: "1", Message: "m"}}
	b1, b2 := begin(t, s, "b1", 1), begin(t, s, "b2", 2)
	if err := s.PutLog(ctx, "l1", lines); err != nil {
		t.Fatal(err)
	}
	ready(t, s, &b1, "s1", "v1")
	ready(t, s, &b2, "s1", "default")
	for range 2 {
		if got, err := s.Log(ctx, "l1"); err != nil || !reflect.DeepEqual(got, lines) {
			t.Errorf("%+v, %v", got, err)
		}
		if err := errors.Join(s.Untag(ctx, "t-b1", []string{"v1"}), s.Forget(ctx, "t-b1", 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(ctx, "t-b1"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Log(ctx, "l1"); err != nil || got != nil {
		t.Errorf("it is left: %+v, %v", got, err)
	}
}

func TestClaimsAreNeededByTags(t *testing.T) {
	s, db := open(t)
	ctx := t.Context()
	claim(t, db, "s1", "s2", "s3")
	b1, b2 := begin(t, s, "b1", 1), begin(t, s, "b2", 2)
	ready(t, s, &b1, "s1", "default")
	ready(t, s, &b2, "s2", "default", "v2")
	unneeded := func(want ...string) {
		t.Helper()
		got, err := s.Unneeded(ctx)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("unneeded are %v, %v; want %v", got, err, want)
		}
		for _, id := range []string{"s1", "s2", "s3"} {
			if needs, err := s.Needs(ctx, id); err != nil || needs == slices.Contains(want, id) {
				t.Errorf("%s is needed: %v, %v", id, needs, err)
			}
		}
	}
	unneeded("s1", "s3")
	if err := s.Tag(ctx, "t-b1", "b1", []string{"old"}); err != nil {
		t.Fatal(err)
	}
	unneeded("s3")
	if err := s.Untag(ctx, "t-b1", []string{"old", "none"}); err != nil {
		t.Fatal(err)
	}
	unneeded("s1", "s3")
	if err := s.Forget(ctx, "t-b1", 0); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Of(ctx, "t-b1"); err != nil || !slices.Equal(ids(got), []string{"b2"}) {
		t.Errorf("left are %v, %v", ids(got), err)
	}
	if err := errors.Join(s.SetPublic(ctx, "t-b1", true), s.Delete(ctx, "t-b1")); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Templates(ctx); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if tags, err := s.Tags(ctx, "t-b1"); err != nil || len(tags) != 0 {
		t.Errorf("%v, %v", tags, err)
	}
	unneeded("s1", "s2", "s3")
}

// A tag never names a build whose claim is gone: a template with such a tag would stay broken.
func TestATagNeedsAClaim(t *testing.T) {
	s, db := open(t)
	ctx := t.Context()
	claim(t, db, "s1", "s2")
	b1, b2 := begin(t, s, "b1", 1), begin(t, s, "b2", 2)
	ready(t, s, &b1, "s1", "default")
	ready(t, s, &b2, "s2", "default")
	if _, err := db.Exec(ctx, `DELETE FROM snapshots WHERE id = 's1'`); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, "t-b1", "b1", []string{"old"}); !errors.Is(err, table.ErrNotFound) {
		t.Errorf("a tag of a build without a claim: %v", err)
	}
	b3 := begin(t, s, "b3", 3)
	b3.State, b3.SnapshotID = sandbox.BuildReady, "s3"
	if err := s.Ready(ctx, &b3); !errors.Is(err, table.ErrNotFound) {
		t.Errorf("a build without a claim: %v", err)
	}
	if got, err := s.Get(ctx, "b3"); err != nil || got.State != sandbox.BuildWaiting {
		t.Errorf("%+v, %v", got, err)
	}
}

// claim writes rows of claims, with what matters here.
func claim(t *testing.T, db *database.DB, names ...string) {
	t.Helper()
	for _, id := range names {
		_, err := db.Exec(context.Background(), `INSERT INTO snapshots (id, instance, kind, state, vm_id, snapshot, source, parent, template_id, alias, build_id, spec, vcpus, memory_mib, disk_mib, created_at)
			VALUES (?, '', 'template', 'ready', ?, '', '', '', '', '', '', '', 0, 0, 0, 0)`, id, id)
		if err != nil {
			t.Fatal(err)
		}
	}
}
