package runtime

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	stdruntime "runtime"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/build"
	"github.com/rundlet/rundlet/runtime/build/fold"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/change"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/runtime/events"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/pager"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/runtime/refresh"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/runtime/settle"
	"github.com/rundlet/rundlet/runtime/start"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/runtime/usage"
	"github.com/rundlet/rundlet/runtime/warm"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/journal"
	"github.com/rundlet/rundlet/vm"
)

// Config holds the dependencies and settings of a Runtime. All fields but the last
// group are required.
type Config struct {
	// Instance names this daemon's life on the machine; rows, slots and
	// machines of other instances are left alone.
	Instance string
	// Node is the id of this node. Rows of another one, or of another driver, are left
	// alone and refused.
	Node string
	// Ephemeral: no object of the instance outlives its processes, and the state
	// directory belongs to another instance. Objects of the instance without a row are
	// ended at once; of other instances only known garbage is removed.
	Ephemeral bool
	// ScratchDir holds a mark for each machine that is not a sandbox yet. It goes with
	// the machines when the host restarts. Without it no machine is known to be one.
	// Uploads is a directory for the files that builds of templates copy.
	ScratchDir, Uploads string
	Driver              vm.Runtime
	Network             machine.Network
	Store               *store.Store
	// Base and BaseUnlocked are those of template.Config.
	Base         func(ctx context.Context) (template.Image, error)
	BaseUnlocked bool
	// HostStamp changes, at the latest soon, when Base would return another image because the host changed. It is cheap. Nil: a running process does not notice.
	HostStamp func() string
	// Prune removes every image but those with these root file systems. It is
	// called when no sandbox of any instance is live. It may be nil.
	Prune func(ctx context.Context, keepRootfs func() ([]string, error)) error
	// LockTemplates excludes all others that write rows of templates in the same state directory.
	LockTemplates func(ctx context.Context) (unlock func(), err error)
	// Image makes the root file system of an image that a template begins with; nil: there are no images.
	Image func(ctx context.Context, name string, registry *sandbox.Registry, progress func(string)) (template.Image, error)
	// HasImage reports whether an image is there, and need not be fetched; nil: none is.
	HasImage func(name string) bool
	// Hold keeps the root of a build until ctx ends; it may be nil.
	Hold     func(ctx context.Context, root string) error
	Fold     fold.Maker // of build.Config; may be nil
	Capacity capacity.Budget

	// Launches is how many machines are made at the same time; more wait. A
	// restore is work for a processor, so that more than there are processors
	// only slow each other down: the default is their number.
	Launches int
	// MaxPending is how many requests may wait for capacity, and MaxWait how
	// long one may; 0 is capacity.DefaultMaxPending and a minute.
	MaxPending int
	MaxWait    time.Duration
	// Shares bounds the objects of one API key.
	Shares admission.Shares

	// Disk returns the free space where DiskRoot is, and Floors the required one; a
	// nil Disk turns the checks off.
	Disk     disk.Probe
	DiskRoot string
	Floors   disk.Floors

	// Warm is the number of machines of the base that are kept warm; the zero value is none.
	Warm pool.Target
	// WarmTemplates are those of the templates that clients build, by name.
	WarmTemplates map[string]pool.Target

	// Size is the size of a sandbox whose template does not set one.
	Size sandbox.Size
	// MaxTimeout bounds a sandbox's timeout, and SyncTimeout the sync of its checkout; 0 is 24 hours, and 5 minutes.
	MaxTimeout, SyncTimeout time.Duration
	Latency                 *latency.Recorder
	// Tracer receives every stage; it may be nil.
	Tracer step.Tracer
	Log    *slog.Logger
	// Authority is the certificate, in PEM, that sandboxes with headers trust; empty: there are none.
	Authority string
	// Supervision is off in the zero value.
	Supervision Supervision
	// Progress receives a line about each slow step. It may be nil.
	Progress func(line string)
	// Recovering receives how many of the sandboxes of an earlier process were dealt
	// with, of how many. It may be nil, and is called from several goroutines.
	Recovering func(done, total int)
	// Failpoint is called at each Step; an error makes the step fail. It is for
	// tests, which may also end the process there. It may be nil.
	Failpoint func(step.Step) error
}

// Runtime owns every sandbox of one instance. Safe for concurrent use.
type Runtime struct{ reads }

// reads are the calls of a Runtime that change nothing.
type reads struct{ parts }

// parts are the components of a Runtime.
type parts struct {
	cfg       Config
	admission *admission.Controller
	tokens    machine.Tokens
	steps     *step.Recorder
	log       *slog.Logger

	// life ends when the runtime closes; it bounds the background work.
	life       context.Context
	background *background.Group

	live  *live.Set
	pool  *pool.Pool
	tally tally

	// reconciled reports the actions of Open on the state of an earlier process; constant.
	reconciled reconcile.Report

	rows      *rows.Writer
	ender     *end.Ender
	saver     *save.Saver
	starter   *start.Starter
	settler   *settle.Settler
	claims    *claim.Claims
	orphans   *orphan.Keeper
	machines  *machine.Machines
	templates *template.Templates
	meter     *usage.Meter
	pager     *pager.Pager
	host      *supervise.Host
	watcher   *supervise.Watcher
	cleaner   *supervise.Cleaner
	held      orphan.InUse
	notes     recovery.Notes

	// ready is closed when Open is done.
	ready chan struct{}

	*change.Changer
	*build.Builder
	*refresh.Refresher
	*warm.Targets
	*events.Journal
}

// Open creates a runtime and reconciles it with the state that an earlier process of
// the same instance left: it keeps sandboxes that can continue, ends the others with
// a reason, and frees resources without a sandbox. It takes no longer than its bounds
// allow: sandboxes that are not recovered by then are in the supervision's report, and
// their recovery continues in the background.
func Open(ctx context.Context, cfg Config) (*Runtime, error) {
	cfg.Size = cmp.Or(cfg.Size, sandbox.DefaultSize)
	cfg.Launches = cmp.Or(cfg.Launches, stdruntime.NumCPU())
	cfg.MaxWait = cmp.Or(cfg.MaxWait, capacity.DefaultMaxWait)
	cfg.MaxTimeout = cmp.Or(cfg.MaxTimeout, 24*time.Hour)
	cfg.Capacity.Launches = int64(cfg.Launches)
	cfg.Shares = cfg.Shares.OrDefault()
	cfg.Latency = cmp.Or(cfg.Latency, &latency.Recorder{})
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Recovering == nil {
		cfg.Recovering = func(int, int) {}
	}
	if cfg.ScratchDir != "" {
		if err := os.MkdirAll(cfg.ScratchDir, 0o700); err != nil {
			return nil, fmt.Errorf("open runtime: %w", err)
		}
	}
	db := cfg.Store
	tokens, err := machine.TokensOf(ctx, db.Settings)
	if err != nil {
		return nil, fmt.Errorf("open runtime: %w", err)
	}
	r := &Runtime{reads{parts{
		cfg: cfg, tokens: tokens, log: cfg.Log,
		steps: &step.Recorder{Latency: cfg.Latency, Tracer: cfg.Tracer, Failpoint: cfg.Failpoint},
		live:  live.NewSet(),
		ready: make(chan struct{}),
	}}}
	r.background = background.New(ctx)
	r.life = r.background.Context()
	r.admission = admission.New(admission.Config{
		Capacity: cfg.Capacity, MaxPending: cfg.MaxPending, MaxWait: cfg.MaxWait, Shares: cfg.Shares,
		Disk: cfg.Disk, DiskRoot: cfg.DiskRoot, Floors: cfg.Floors, OnYield: func(id string) { r.pool.Yield(id) }, Life: r.life, Log: cfg.Log,
	})
	r.orphans = &orphan.Keeper{Store: orphan.Store{Orphans: db.Orphans, Sandboxes: db.Sandboxes}, Driver: cfg.Driver, Destroy: func(ctx context.Context, id string) error { return r.machines.Destroy(ctx, id) }, Freed: r.tally.freed, Log: cfg.Log}
	r.claims = claim.New(claim.Config{
		Instance: cfg.Instance, Node: cfg.Node, Ephemeral: cfg.Ephemeral, Driver: cfg.Driver, Orphans: r.orphans,
		Store:      claim.Store{Snapshots: db.Snapshots, Sandboxes: db.Sandboxes, Environments: db.Environments, Templates: db.Templates, Garbage: db.Garbage},
		Background: r.background, Steps: r.steps, InUse: func() map[string]bool { return inUse(&r.parts) }, Freed: r.tally.freed, Log: cfg.Log,
		Bounds: store.Counted{
			Kinds: []string{claim.KindSnapshot, claim.KindContinuation, claim.KindTemplate},
			Most:  cfg.Shares.Snapshots, MostOfAKey: cfg.Shares.SnapshotsPerKey,
		},
	})
	r.machines, err = machine.New(machine.Config{
		Driver: cfg.Driver, Network: cfg.Network, Claims: r.claims, Steps: r.steps, Tokens: r.tokens, ScratchDir: cfg.ScratchDir, Authority: cfg.Authority, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("open runtime: %w", err)
	}
	r.pool = pool.New(pool.Config{
		Launches: cfg.Launches, Driver: cfg.Driver, Machines: r.machines, Admission: r.admission, Steps: r.steps, Background: r.background,
		Unusable: func(from claim.Origin, err error) { r.templates.Unusable(from, err) }, Log: cfg.Log,
	})
	r.templates = template.New(template.Config{
		Base: cfg.Base, BaseUnlocked: cfg.BaseUnlocked, HostStamp: cfg.HostStamp, Prune: cfg.Prune, Lock: cfg.LockTemplates, Size: cfg.Size,
		Driver: cfg.Driver, Network: cfg.Network, Machines: r.machines, Claims: r.claims,
		Store:     template.Store{Templates: db.Templates, Garbage: db.Garbage, Sandboxes: db.Sandboxes, Orphans: db.Orphans, Specs: db.Specs},
		Admission: r.admission, InUse: &r.held, Background: r.background, Steps: r.steps, Keep: r.pool.Keep,
		Progress: cfg.Progress, Log: cfg.Log,
	})
	r.Journal = events.New(events.Config{Store: db.Events, Live: r.live, Refused: cfg.Network.Refused, Refusals: cfg.Network.Refusals(), Silent: cfg.Ephemeral, Bounds: journal.DefaultBounds, Life: r.life, Log: cfg.Log})
	r.rows = &rows.Writer{Store: rows.Store{Sandboxes: db.Sandboxes}, Here: r.claims.SandboxHere, Journal: r.Journal, Log: cfg.Log}
	r.ender = end.New(end.Config{
		Driver: cfg.Driver, Rows: r.rows, Live: r.live, Places: r.admission.Places, Machines: r.machines, Claims: r.claims,
		Steps: r.steps, Background: r.background, Note: r.notes.Note, Log: cfg.Log,
		Ended: func(reason string) {
			r.tally.killed(reason)
			r.pool.Wake()
		},
	})
	r.saver = save.New(save.Config{
		Driver: cfg.Driver, Store: save.Store{Snapshots: db.Snapshots, Environments: db.Environments}, Rows: r.rows, Live: r.live, Admission: r.admission, Machines: r.machines, Claims: r.claims,
		Ender: r.ender, Held: &r.held, Steps: r.steps, Background: r.background, Notes: &r.notes, Journal: r.Journal, Ready: r.ready, Watch: func(sb *live.Sandbox) { r.starter.Watch(sb) }, Log: cfg.Log,
	})
	r.Refresher = newRefresher(&r.parts)
	r.starter = start.New(start.Config{
		Instance: cfg.Instance, Node: cfg.Node, Driver: cfg.Driver, Network: cfg.Network, Rows: r.rows, Live: r.live,
		Store:     start.Store{Snapshots: db.Snapshots, Environments: db.Environments, SpawnCounts: db.SpawnCounts},
		Admission: r.admission, Machines: r.machines, Claims: r.claims, Templates: r.templates, Built: func(ctx context.Context, name string) (claim.Origin, error) { return r.BuildOrigin(ctx, name) }, Pool: r.pool, Ender: r.ender, Saver: r.saver,
		Refresh: func(sb *live.Sandbox) { r.Begin(sb) }, Held: &r.held, Steps: r.steps, Background: r.background, MaxTimeout: cfg.MaxTimeout, Log: cfg.Log,
	})
	r.Builder = build.New(build.Config{
		Site: site.Config{
			Driver: cfg.Driver, Network: cfg.Network, Machines: r.machines, Claims: r.claims, Admission: r.admission, InUse: &r.held, Environments: db.Environments, Log: cfg.Log,
		},
		Store:   build.Store{Builds: db.Builds, Snapshots: db.Snapshots, Environments: db.Environments, SpawnCounts: db.SpawnCounts},
		Resolve: r.starter.Resolve, Image: cfg.Image, HasImage: cfg.HasImage, Hold: cfg.Hold, Fold: cfg.Fold, Files: cfg.Uploads, Size: cfg.Size, Base: r.templates, Keep: r.pool.Keep, Drop: r.pool.Drop, Steps: r.steps, Background: r.background, Log: cfg.Log,
	})
	r.settler = settle.New(settle.Config{
		Driver: cfg.Driver, Store: settle.Store{Snapshots: db.Snapshots}, Rows: r.rows, Live: r.live, Admission: r.admission, Machines: r.machines, Claims: r.claims,
		Ender: r.ender, Saver: r.saver, Starter: r.starter, Orphans: r.orphans, Held: &r.held, Background: r.background, Log: cfg.Log,
	})
	r.Changer = change.New(change.Config{
		Live: r.live, Rows: r.rows, Network: cfg.Network, Trust: r.machines.Trust, CheckTimeout: r.starter.ValidateTimeout, Expire: r.saver.Expire,
	})
	r.pager = pager.New(pager.Config{
		After: cfg.Supervision.PageOut, Driver: cfg.Driver, Sandbox: pager.Of(r.live), Swap: cfg.Supervision.Swap, Log: cfg.Log,
	})
	r.meter = newMeter(&r.parts)
	r.host = supervise.NewHost(supervise.HostConfig{
		Sample: cfg.Supervision.Sample, Limits: cfg.Supervision.Limits, Pool: r.pool, Queue: r.admission.Queue,
		Network: cfg.Network, Log: cfg.Log, Pressure: pressureOf(cfg),
		PageOut: func() { r.background.Go(func() { r.pager.Look(r.life, true) }) },
	})
	r.watcher, r.cleaner = newWatcher(&r.parts), newCleaner(&r.parts)
	r.Targets = warm.Load(ctx, warm.Config{
		Store: db.Warm, Base: cfg.Warm, Named: cfg.WarmTemplates, Sandboxes: int(cfg.Capacity.Sandboxes), Ephemeral: cfg.Ephemeral, Log: cfg.Log,
		Pool: r.pool, Templates: r.templates, Builds: r.Builder,
	})
	if err := recoverAll(ctx, r); err != nil {
		r.background.Stop()
		r.background.Wait()
		return nil, fmt.Errorf("open runtime: %w", err)
	}
	if !cfg.Ephemeral {
		if err := r.RecoverBuilds(ctx); err != nil {
			cfg.Log.Warn("could not tidy the builds of an earlier process yet", "error", err)
		}
	}
	collectSoon(ctx, r)
	r.background.Go(r.pool.Maintain)
	startLoops(r)
	if r.meter != nil {
		r.background.Go(func() { r.meter.Run(r.life) })
	}
	close(r.ready)
	return r, nil
}

// Close stops this value's background work, ends the warm machines, and leaves
// the sandboxes running for the next Open of the same instance. It does not close what Config holds.
func (r *Runtime) Close() {
	for _, sb := range r.live.Close() {
		sb.Disarm()
	}
	r.background.Stop()
	done := make(chan struct{})
	go func() {
		r.background.Wait()
		close(done)
	}()
	select {
	case <-done:
		r.pool.Drain()
	case <-time.After(closeTimeout):
		// The sandboxes, and the warm machines as orphans, are there for
		// the next start.
		r.log.Warn("driver call hangs; closing anyway")
	}
}

// closeTimeout is longer than one attempt to free a sandbox.
const closeTimeout = background.CleanupTimeout + 10*time.Second

// Latency returns the recorder that every stage reports to.
func (r *reads) Latency() *latency.Recorder { return r.cfg.Latency }
