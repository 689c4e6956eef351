package simulate

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/policy/warmpool"
)

// policy is what a node is run by: the configuration of a daemon that was given no
// flags, and its decisions. Tests break parts of it, to show that the invariants
// notice.
type policy struct {
	floors     disk.Floors
	overcommit capacity.Overcommit
	maxPending int
	warm       warmpool.Target
	// decide is the recovery decision.
	decide func(reconcile.Row, reconcile.Machine, bool) reconcile.Decision
	// see is what the daemon makes of a sample.
	see func(autoscale.Sample) autoscale.Sample
	// retryKill says whether a kill that failed is tried again.
	retryKill bool
	release   func(*capacity.Reservation)
	checkout  func(*warmpool.Pool, warmpool.Key, time.Time) (warmpool.Entry, bool)
	// overtakes lets a request by while others wait.
	overtakes bool
}

func policies() policy {
	return policy{
		floors:     disk.FloorsFor(diskTotal),
		overcommit: capacity.DefaultOvercommit,
		maxPending: capacity.DefaultMaxPending,
		warm:       warmpool.DefaultTarget,
		decide:     reconcile.Decide,
		see:        func(s autoscale.Sample) autoscale.Sample { return s },
		retryKill:  true,
		release:    func(r *capacity.Reservation) { r.Release() },
		checkout:   (*warmpool.Pool).Checkout,
	}
}

// pressure is how the daemon configures its policy for a host under pressure.
func (p policy) pressure() pressure.Config {
	return pressure.Config{
		RestoreFloor: p.floors.Restore, Interval: pressure.Interval, Launches: processors, EntryMemoryBytes: perSandbox.MemoryBytes,
	}
}

// capacity is what the daemon lets all sandboxes of the node have together.
func (p policy) capacity() capacity.Budget {
	return p.overcommit.Budget(processors, memoryTotal, diskTotal-p.floors.Restore).Plus(capacity.Budget{Launches: processors})
}

const (
	tenants   = 4
	templates = 4
	// pooled templates have warm entries: the base. The others are always restored.
	pooled = 1
)

var keys = func() (k [templates]warmpool.Key) {
	for i := range k {
		k[i] = warmpool.Key{Repo: "repo", Template: "template-" + strconv.Itoa(i), Profile: "small"}
	}
	return k
}()

// node is a machine of 2 processors, 16 GiB of memory and 200 GiB of disk, and its
// daemon.
type node struct {
	cfg    Config
	policy policy
	rand   *rand.Rand

	now    time.Duration
	events heap
	seq    uint64
	digest uint64
	count  uint64
	over   bool // no more traffic

	// The world: it survives a crash.
	live        []*machine
	lastID      uint64
	ready       int // machines in state ready
	jobs        int // machines that keep a processor busy
	stalls      float64
	stallsAt    time.Duration
	foreign     int64 // memory that something else uses
	foreignDisk int64
	memory      int64 // of all machines
	disk        int64
	sick        int // the template whose launches fail; -1 for none
	revision    [templates]int
	episode     episode
	deep        time.Duration // since when half of a reserve is gone; 0 if it is not

	// The daemon.
	down     bool
	ledger   *capacity.Ledger
	queue    *capacity.Queue
	pool     *warmpool.Pool
	pressure pressure.Node
	state    autoscale.State // of the last sample
	room     disk.Probe      // keeps its figure for a while, as the daemon's does
	limits   warmpool.Limits
	tickAt   time.Duration // the next sample of the host
	refusing bool
	taken    time.Duration // the last checkout
	resting  bool          // a refill comes when the cooldown is over
	dirty    bool          // the pool should be planned again
	waiting  [tenants][]*machine
	yields   []string
	byID     map[string]*machine // in the pool or on their way to it

	arrivals [tenants]uint64
	served   [tenants]uint64
	figures  figures
	broken   []string
	seen     map[string]int // violations by kind
}

func newNode(cfg Config, p policy) *node {
	n := &node{cfg: cfg, policy: p, rand: rand.New(rand.NewPCG(cfg.Seed, 0x72756e646c6574)), digest: 14695981039346656037, sick: -1, seen: map[string]int{}}
	if cfg.Warm != (warmpool.Target{}) {
		n.policy.warm = cfg.Warm
	}
	n.boot()
	return n
}

// boot starts a daemon that knows nothing yet.
func (n *node) boot() {
	n.ledger = capacity.NewLedger(n.policy.capacity())
	n.queue = capacity.NewQueue(n.ledger, capacity.QueueConfig{
		MaxPending: n.policy.maxPending, OnYield: func(id string) { n.yields = append(n.yields, id) },
	})
	n.pool = &warmpool.Pool{}
	for i := range pooled {
		n.pool.SetSnapshot(keys[i], n.snapshot(i))
		n.pool.SetTarget(keys[i], n.policy.warm)
	}
	n.pressure, n.state = pressure.New(n.policy.pressure()), autoscale.Nominal
	n.room = disk.Cached(freeDisk{n}, disk.CacheTTL, n.clock)
	n.limits = warmpool.Unlimited
	n.waiting = [tenants][]*machine{}
	n.yields, n.byID, n.refusing, n.down, n.dirty, n.taken, n.resting = nil, map[string]*machine{}, false, false, true, -warmpool.Cooldown, false
	n.tickLater()
}

func (n *node) clock() time.Time { return n.at(n.now) }

// at is a time of the run.
func (n *node) at(d time.Duration) time.Time { return time.Unix(0, int64(d)).UTC() }

func (n *node) snapshot(kind int) string {
	return keys[kind].Template + "@" + strconv.Itoa(n.revision[kind])
}

// machine makes one, in state asking.
func (n *node) machine(tenant, kind int) *machine {
	n.lastID++
	return &machine{id: strconv.FormatUint(n.lastID, 10), number: n.lastID, tenant: tenant, kind: kind, index: -1, asked: n.now}
}

// enter changes the state of m; what was to happen in the last one is void.
func (n *node) enter(m *machine, s state) {
	n.stopJob(m)
	if m.state == ready {
		n.ready--
	}
	if s == ready {
		n.ready++
	}
	m.state, m.since, m.deadline, m.ends = s, n.now, 0, 0
	m.version++
	switch {
	case s == asking:
		m.deadline = n.now + maxWait
	case s.transitional():
		m.deadline = n.now + transitionTime
	}
	if m.index < 0 && s != gone {
		m.index = len(n.live)
		n.live = append(n.live, m)
	}
	if s == gone && m.index >= 0 {
		last := n.live[len(n.live)-1]
		n.live[m.index], last.index = last, m.index
		n.live[len(n.live)-1] = nil
		n.live = n.live[:len(n.live)-1]
		m.index = -1
	}
}

// use changes what m uses of the host.
func (n *node) use(m *machine, memory, disk int64) {
	n.memory += memory - m.memory
	n.disk += disk - m.disk
	m.memory, m.disk = memory, disk
}

// job keeps a processor busy and then lets do happen to m. Without a free
// processor it takes as much longer.
func (n *node) job(m *machine, cost time.Duration, do kind) {
	n.account()
	n.jobs++
	m.busy = true
	crowd := max(1, float64(n.jobs)/processors)
	n.after(n.spread(time.Duration(float64(cost)*crowd), 0.25), do, m)
}

func (n *node) stopJob(m *machine) {
	if m.busy {
		n.account()
		m.busy = false
		n.jobs--
	}
}

// account keeps the share of the last ten seconds in which jobs waited.
func (n *node) account() {
	var now float64
	if n.jobs > processors {
		now = 100
	}
	n.stalls = now + (n.stalls-now)*math.Exp(-(n.now-n.stallsAt).Seconds()/10)
	n.stallsAt = n.now
}

// spread draws from a lognormal distribution with a median.
func (n *node) spread(median time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(median) * math.Exp(n.rand.NormFloat64()*sigma))
}

// gap draws the time to the next of independent things that are mean apart.
func (n *node) gap(mean time.Duration) time.Duration {
	return time.Duration(n.rand.ExpFloat64() * float64(mean))
}

func (n *node) chance(share float64) bool { return n.rand.Float64() < share }
