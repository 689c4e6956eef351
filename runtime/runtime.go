package runtime

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	stdruntime "runtime"
	"sync"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Slot is a network place for one sandbox, with its rules in force.
type Slot struct {
	ID      string
	NetNS   string
	GuestIP netip.Addr
}

// Network gives slots. *network.Network is adapted to it by cmd; a slot is used
// for one machine only.
type Network interface {
	Acquire(ctx context.Context, allowInternet bool) (Slot, error)
	Release(ctx context.Context, slotID string) error
	// SetInternet changes whether a slot reaches the internet. When it returns
	// the new rules are in force.
	SetInternet(ctx context.Context, slotID string, allow bool) error
	// Adopt keeps the slots in use and frees every other one of this instance.
	// It returns those that are not there any more.
	Adopt(ctx context.Context, inUse []string) (missing []string, err error)
}

// Image is a root file system and what runs in it: what a template is made of.
type Image struct {
	// Spec holds Rootfs, Mounts, Args, Env and Cwd.
	Spec vm.Spec
	// Stamp changes whenever a snapshot made from the image would differ.
	Stamp string
}

// Config is what a Runtime is made of. All fields but the last group are
// required.
type Config struct {
	// Instance names this daemon's life on the machine; rows, slots and
	// machines of other instances are left alone.
	Instance string
	// Ephemeral: nothing of the instance outlives its processes, and the state
	// directory is another's. What the instance has of no row is ended at once, and
	// of other instances only what is known to be garbage is removed.
	Ephemeral bool
	// ScratchDir holds a mark for each machine that is no sandbox yet. It goes with
	// the machines when the host restarts. Without it no machine is known to be one.
	ScratchDir string
	Driver     vm.Runtime
	Network    Network
	Store      *store.Store
	// Base makes, or finds, the image of the template "base".
	Base func(ctx context.Context) (Image, error)
	// HostStamp changes, at the latest soon, when Base would return another image
	// because the host changed. It is cheap. Nil means that a running process
	// does not notice.
	HostStamp func() string
	// Prune removes every image but those with these root file systems. It is
	// called when no sandbox of any instance is live. It may be nil.
	Prune func(ctx context.Context, keepRootfs []string) error
	// LockTemplates excludes other processes from building templates in the
	// same state directory.
	LockTemplates func(ctx context.Context) (unlock func(), err error)
	Capacity      capacity.Budget

	// Launches is how many machines are made at the same time; more wait. A
	// restore is work for a processor, so that more than there are processors
	// only slow each other down: the default is their number.
	Launches int
	// MaxPending is how many requests may wait for capacity, and MaxWait how
	// long one may; 0 is capacity.DefaultMaxPending and a minute.
	MaxPending int
	MaxWait    time.Duration
	// Shares bounds what one API key may have.
	Shares Shares

	// Disk tells how much is free where DiskRoot is, and Floors what must be;
	// a nil Disk means that nothing is checked.
	Disk     disk.Probe
	DiskRoot string
	Floors   disk.Floors

	// Warm is what is kept warm of the base; the zero value is nothing.
	Warm WarmTarget

	// Size is what a sandbox gets when its template does not say.
	Size Size
	// MaxTimeout bounds a sandbox's time-out; 0 is 24 hours.
	MaxTimeout time.Duration
	Latency    *latency.Recorder
	// Tracer is told of every stage; nil is nobody.
	Tracer Tracer
	Log    *slog.Logger
	// Supervision is off in the zero value.
	Supervision Supervision
	// Progress is told, in a line, about what takes long. It may be nil.
	Progress func(line string)
	// Recovering is told how many of the sandboxes of an earlier process were dealt
	// with, of how many. It may be nil, and is called from several goroutines.
	Recovering func(done, total int)
	// Failpoint is called at each Step; an error makes the step fail. It is for
	// tests, which may also end the process there. It may be nil.
	Failpoint func(Step) error
}

// Size is the resources of one sandbox.
type Size struct {
	VCPUs     int
	MemoryMiB int
	DiskMiB   int
}

// DefaultSize is E2B's default for its base template.
var DefaultSize = Size{VCPUs: 2, MemoryMiB: 512, DiskMiB: 1024}

// killedKept is how long killed sandboxes can be asked about.
const killedKept = 7 * 24 * time.Hour

// mostKilled is how many killed sandboxes are kept at most, the newest; more are
// there only until the next look of hygiene. A row has its metadata, at most
// maxMetadataBytes, and no spec.
const mostKilled = 10000

// Runtime owns every sandbox of one instance. Safe for concurrent use.
type Runtime struct {
	cfg    Config
	dialer vm.Dialer
	ledger *capacity.Ledger
	queue  *capacity.Queue
	secret []byte
	log    *slog.Logger

	// life ends when the runtime closes; it bounds what runs in the background.
	life       context.Context
	end        context.CancelFunc
	background sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	sandboxes map[string]*handle
	building  *build // the base build in flight, or nil

	roster *roster
	pool   *pool
	places *places
	tally  tally
	ends   outOfMemoryEnds

	// reconciled is what Open did with what an earlier process left; constant.
	reconciled reconcile.Report

	verify *verifier
	// sealing serializes the seals, so that what a restore waits for is read first.
	sealing chan struct{}

	sup     supervisor
	orphans orphans

	// ready is closed when Open is done, and late bounds what it left for later.
	ready chan struct{}
	late  chan struct{}
}

// Open makes a runtime and reconciles it with what an earlier process of the
// same instance left: what can go on is kept, the rest is ended with a reason,
// and what belongs to no sandbox is freed. It takes no longer than its bounds
// allow: what could not be dealt with by then is in the supervision's report, and
// is gone on with in the background.
func Open(ctx context.Context, cfg Config) (*Runtime, error) {
	dialer, ok := cfg.Driver.(vm.Dialer)
	if !ok {
		return nil, fmt.Errorf("open runtime: driver %s cannot dial a guest: %w", cfg.Driver.Info().Driver, sandbox.ErrUnsupported)
	}
	if cfg.Size == (Size{}) {
		cfg.Size = DefaultSize
	}
	if cfg.Launches == 0 {
		cfg.Launches = stdruntime.NumCPU()
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = capacity.DefaultMaxWait
	}
	cfg.Capacity.Launches = int64(cfg.Launches)
	cfg.Shares = cfg.Shares.orDefault()
	if cfg.MaxTimeout == 0 {
		cfg.MaxTimeout = 24 * time.Hour
	}
	if cfg.Latency == nil {
		cfg.Latency = &latency.Recorder{}
	}
	if cfg.Tracer == nil {
		cfg.Tracer = noTracer{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
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
	secret, err := cfg.Store.Setting(ctx, "token_secret", func() ([]byte, error) {
		b := make([]byte, 32)
		_, err := rand.Read(b)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("open runtime: %w", err)
	}
	r := &Runtime{
		cfg: cfg, dialer: dialer, ledger: capacity.NewLedger(cfg.Capacity), secret: secret, log: cfg.Log,
		sandboxes: map[string]*handle{}, sealing: make(chan struct{}, 1),
		ready: make(chan struct{}), late: make(chan struct{}, latePauses),
		orphans: orphans{machines: map[string]bool{}, told: map[string]bool{}},
	}
	r.sup.unrecovered = map[string]string{}
	r.sup.policy = newPressure(cfg)
	r.pool, r.roster = newPool(), newRoster()
	r.places = newPlaces(cfg.Shares)
	r.queue = capacity.NewQueue(r.ledger, capacity.QueueConfig{MaxPending: cfg.MaxPending, OnYield: r.yield})
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.verify = newVerifier(r.life, r.spawn)
	if err := r.reconcile(ctx); err != nil {
		r.end()
		r.background.Wait()
		return nil, fmt.Errorf("open runtime: %w", err)
	}
	r.collectSoon(ctx)
	if cfg.Warm != (WarmTarget{}) {
		r.spawn(r.lookAfterPool)
	}
	r.supervise()
	if driver, ok := cfg.Driver.(vm.Statser); ok {
		r.spawn(func() { r.lookAtUsage(driver) })
	}
	close(r.ready)
	return r, nil
}

// spawn runs f in the background, which Close waits for. It reports false, and
// runs nothing, once the runtime is closing.
func (r *Runtime) spawn(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed && r.life.Err() != nil {
		return false
	}
	r.background.Go(f)
	return true
}

// Close stops this value's background work, ends the warm machines, and leaves
// the sandboxes running for the next Open of the same instance. It does not close what Config holds.
func (r *Runtime) Close() {
	r.mu.Lock()
	r.closed = true
	for _, sb := range r.sandboxes {
		sb.disarm()
	}
	r.end()
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.background.Wait()
		close(done)
	}()
	select {
	case <-done:
		r.drainPool()
	case <-time.After(closeTimeout):
		// The sandboxes, and the warm machines as machines of nobody, are there for
		// the next start.
		r.log.Warn("a call to the driver does not end; closing without it")
	}
}

// closeTimeout is longer than one attempt to free a sandbox.
const closeTimeout = cleanupTimeout + 10*time.Second

// Latency returns the recorder that every stage reports to.
func (r *Runtime) Latency() *latency.Recorder { return r.cfg.Latency }

// find returns a live sandbox.
func (r *Runtime) find(id string) (*handle, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sb, ok := r.sandboxes[id]
	return sb, ok
}

// add makes a sandbox known, and gives it its place. It fails once the runtime is
// closing.
func (r *Runtime) add(sb *handle, pl *place) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("create sandbox: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	}
	sb.place = pl
	r.sandboxes[sb.id] = sb
	sb.enroll(r.roster)
	return nil
}

func (r *Runtime) forget(sb *handle) {
	r.mu.Lock()
	delete(r.sandboxes, sb.id)
	r.mu.Unlock()
	sb.leave()
	r.places.free(sb.place)
	r.note(sb.id, nil)
}

// detached is for work that has to end even when the caller went away.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

// cleanupTimeout bounds one attempt to free a sandbox.
const cleanupTimeout = 30 * time.Second
