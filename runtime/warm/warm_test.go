package warm

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// site is a daemon of five sandboxes, started with two machines of the base and two of template a. There is a template b, too.
type site struct {
	t     *testing.T
	db    *store.Store
	aims  map[string]pool.Target
	kept  []string
	known map[string]error
}

func newSite(t *testing.T) *site {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &site{t: t, db: db, known: map[string]error{"a": nil, "b": nil}}
}

const maxAge = time.Hour

// start is what a daemon does that starts.
func (s *site) start() *Targets {
	s.aims, s.kept = map[string]pool.Target{}, nil
	return Load(s.t.Context(), Config{
		Store: s.db.Warm, Base: pool.Target{Ready: 2, Prepared: 1, MaxAge: maxAge}, Named: map[string]pool.Target{"a": {Ready: 2, MaxAge: maxAge}}, Sandboxes: 5,
		Log: slog.New(slog.DiscardHandler), Pool: s, Templates: s, Builds: s,
	})
}

func (s *site) Aim(name string, t pool.Target) { s.aims[name] = t }
func (s *site) Ready(time.Time) map[string]int { return map[string]int{"a": 1} }
func (s *site) KeepBase()                      { s.kept = append(s.kept, "base") }
func (s *site) KeepBuild(ctx context.Context, name string) error {
	s.kept = append(s.kept, name)
	_, err := s.BuildOrigin(ctx, name)
	return err
}

func (s *site) BuildOrigin(_ context.Context, name string) (claim.Origin, error) {
	if err, ok := s.known[name]; ok {
		return claim.Origin{}, err
	}
	return claim.Origin{}, sandbox.ErrTemplateNotFound
}

func TestWhatClientsSayHoldsAfterTheNextStart(t *testing.T) {
	s := newSite(t)
	targets := s.start()
	started := maps.Clone(s.aims)
	if want := (map[string]pool.Target{"base": {Ready: 2, Prepared: 1, MaxAge: maxAge}, "a": {Ready: 2, MaxAge: maxAge}}); !maps.Equal(started, want) {
		t.Errorf("started with %+v", started)
	}
	for name, n := range map[string]int{"a": 1, "b": 3, "base": 0} {
		if err := targets.KeepWarm(t.Context(), name, &n); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]pool.Target{"base": {}, "a": {Ready: 1, MaxAge: maxAge}, "b": {Ready: 3, MaxAge: maxAge}}
	if !maps.Equal(s.aims, want) || len(s.kept) != 3 {
		t.Errorf("got %+v, given to the pool: %q", s.aims, s.kept)
	}
	targets = s.start()
	if !maps.Equal(s.aims, want) {
		t.Errorf("after a restart: %+v", s.aims)
	}
	s.known["b"] = sandbox.ErrTemplateNotFound
	list, err := targets.WarmTemplates(t.Context())
	if shown := []sandbox.WarmTemplate{{Name: "a", Ready: 1, Set: true, Now: 1}, {Name: "b", Ready: 3, Set: true, Missing: true}, {Name: "base", Set: true}}; err != nil ||
		!reflect.DeepEqual(list, shown) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, name := range []string{"a", "b", "base"} { // b too, which is gone.
		if err := targets.KeepWarm(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	if s.start(); !maps.Equal(s.aims, started) {
		t.Errorf("after a reset and a restart: %+v", s.aims)
	}
}

func TestWhatCannotBeKeptWarmIsRefused(t *testing.T) {
	s := newSite(t)
	targets := s.start()
	broken := errors.New("broken")
	s.known["c"] = broken
	before := maps.Clone(s.aims)
	for what, c := range map[string]struct {
		name  string
		ready int
		want  error
	}{
		"a template that is not there": {"d", 1, sandbox.ErrTemplateNotFound},
		"one that cannot be read":      {"c", 1, broken},
		"a tag":                        {"a:v1", 1, sandbox.ErrInvalid},
		"less than nothing":            {"a", -1, sandbox.ErrInvalid},
		"less than nothing of base":    {"base", -1, sandbox.ErrInvalid},
		"more than the node runs":      {"b", 4, sandbox.ErrInvalid},
		"more of base than it runs":    {"base", 6, sandbox.ErrInvalid},
		"nothing of what is not there": {"d", 0, sandbox.ErrTemplateNotFound},
	} {
		if err := targets.KeepWarm(t.Context(), c.name, &c.ready); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	set, err := s.db.Warm.All(t.Context())
	if !maps.Equal(s.aims, before) || len(set) != 0 || err != nil {
		t.Errorf("it has changed to %+v, stored: %v, %v", s.aims, set, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if three := 3; targets.KeepWarm(ctx, "a", &three) == nil || !maps.Equal(s.aims, before) {
		t.Errorf("a change that was not stored: %+v", s.aims)
	}
}
