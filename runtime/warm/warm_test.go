package warm

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
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
	ids   map[string]string // the names of templates by their ids
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
	return s.startWith(func(*Config) {})
}

// startWith is start with other settings.
func (s *site) startWith(change func(*Config)) *Targets {
	s.aims, s.kept = map[string]pool.Target{}, nil
	cfg := Config{
		Store: s.db.Warm, Base: pool.Target{Ready: 2, Prepared: 1, MaxAge: maxAge}, Named: map[string]pool.Target{"a": {Ready: 2, MaxAge: maxAge}}, Sandboxes: 5,
		Log: slog.New(slog.DiscardHandler), Pool: s, Templates: s, Builds: s,
	}
	change(&cfg)
	return Load(s.t.Context(), cfg)
}

func (s *site) SetTarget(name string, t pool.Target) { s.aims[name] = t }
func (s *site) Ready(time.Time) map[string]int       { return map[string]int{"a": 1} }
func (s *site) KeepBase()                            { s.kept = append(s.kept, "base") }
func (s *site) KeepBuild(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.kept = append(s.kept, name)
	_, err := s.BuildOrigin(ctx, name)
	return err
}

func (s *site) BuildOrigin(_ context.Context, name string) (claim.Origin, error) {
	name = cmp.Or(s.ids[name], name)
	if err, ok := s.known[name]; ok {
		return claim.Origin{Alias: name}, err
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
	s.ids = map[string]string{"id_of_b": "b"}
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
		"an id":                        {"id_of_b", 1, sandbox.ErrTemplateNotFound},
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

// say keeps so many, and fails the test if that is refused.
func (s *site) say(targets *Targets, name string, ready int) {
	s.t.Helper()
	if err := targets.KeepWarm(s.t.Context(), name, &ready); err != nil {
		s.t.Errorf("%d of %s: %v", ready, name, err)
	}
}

// A node that runs fewer sandboxes than before has too many stored, and of the base by default: each can be lowered, and others are not in its way.
func TestWhatIsTooMuchCanBeLowered(t *testing.T) {
	s := newSite(t)
	for name, n := range map[string]int{"a": 4, "b": 1 << 50, "c": -7} {
		if err := s.db.Warm.Set(t.Context(), name, n); err != nil {
			t.Fatal(err)
		}
	}
	targets := s.startWith(func(c *Config) { c.Sandboxes, c.Base.Ready = 3, 4 })
	if want := (map[string]pool.Target{"a": {Ready: 3, MaxAge: maxAge}, "b": {Ready: 3, MaxAge: maxAge}, "base": {Ready: 4, Prepared: 1, MaxAge: maxAge}, "c": {}}); !maps.Equal(s.aims, want) {
		t.Errorf("started with %+v", s.aims)
	}
	s.say(targets, "a", 3)
	s.say(targets, "a", 1)
	s.say(targets, "b", 1)
	s.say(targets, "b", 2)
	if three := 3; !errors.Is(targets.KeepWarm(t.Context(), "b", &three), sandbox.ErrInvalid) {
		t.Error("more than the node runs is accepted")
	}
	s.say(targets, "base", 0)
	if err := targets.KeepWarm(t.Context(), "base", nil); err != nil {
		t.Errorf("the default cannot be had again: %v", err)
	}
}

func TestWhatIsSaidIsStoredEvenIfItIsTheSame(t *testing.T) {
	s := newSite(t)
	s.say(s.start(), "a", 2)
	if s.startWith(func(c *Config) { c.Named = nil }); s.aims["a"].Ready != 2 {
		t.Errorf("without its flag: %+v", s.aims)
	}
	onlyPrepared := func(c *Config) { c.Base.Ready = 0 }
	s.say(s.startWith(onlyPrepared), "base", 0)
	if s.startWith(onlyPrepared); s.aims["base"] != (pool.Target{}) {
		t.Errorf("none of the base: %+v", s.aims)
	}
	s.say(s.start(), "b", 0)
	if set, err := s.db.Warm.All(t.Context()); err != nil || !maps.Equal(set, map[string]int{"a": 2, "base": 0}) {
		t.Errorf("%v, %v", set, err)
	}
}

// A node beside the daemon has its database, and not its warm machines.
func TestAnEphemeralNodeKeepsWhatItWasStartedWith(t *testing.T) {
	s := newSite(t)
	s.say(s.start(), "base", 4)
	targets := s.startWith(func(c *Config) { c.Ephemeral, c.Base, c.Named = true, pool.Target{}, nil })
	if !maps.Equal(s.aims, map[string]pool.Target{"base": {}}) {
		t.Errorf("it keeps %+v", s.aims)
	}
	if one := 1; !errors.Is(targets.KeepWarm(t.Context(), "b", &one), sandbox.ErrInvalid) {
		t.Error("it changes what the daemon keeps")
	}
	if list, err := targets.WarmTemplates(t.Context()); err != nil || !reflect.DeepEqual(list, []sandbox.WarmTemplate{{Name: "base"}}) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestAChangeIsCompletedForAClientThatLeaves(t *testing.T) {
	s := newSite(t)
	ctx, leave := context.WithCancel(t.Context())
	pool := &leaving{site: s}
	targets := s.startWith(func(c *Config) { c.Pool = pool })
	pool.leave = leave
	if three := 3; targets.KeepWarm(ctx, "b", &three) != nil || !slices.Equal(s.kept, []string{"b"}) {
		t.Errorf("stored, and the pool has %q", s.kept)
	}
}

// leaving is a pool whose client leaves when a target changes.
type leaving struct {
	*site
	leave func() // nil while the daemon starts
}

func (l *leaving) SetTarget(name string, t pool.Target) {
	if l.leave != nil {
		l.leave()
	}
	l.site.SetTarget(name, t)
}
