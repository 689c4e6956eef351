package capacity

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// world drives a ledger and its queue next to a naive model of them: a list of
// all claims, and the rule of service written as a simulation.
type world struct {
	t      *testing.T
	ledger *Ledger
	queue  *Queue
	whole  Budget

	claims  []*claim
	waiting map[string][]*asked // by tenant
	turns   []string
	told    []string // by OnYield during the last operation
	ids     int
	// promoted counts successful promotions.
	promoted int
	most     Budget // the largest that was ever adopted above the whole
}

type claim struct {
	r        *Reservation
	budget   Budget
	entry    string // the ID of a warm entry; "" is active
	key      WarmKey
	yielding bool
	released bool
}

type asked struct {
	ticket *Ticket
	tenant string
	budget Budget
	done   bool // admitted or gone
}

// maxPending are the places of the model's queue.
const maxPending = 12

func newWorld(t *testing.T) *world {
	capacity := Budget{CPUs: 16, MemoryBytes: 16, DiskBytes: 100, Sandboxes: 8, Launches: 3}
	w := &world{t: t, ledger: NewLedger(capacity), whole: capacity, waiting: map[string][]*asked{}}
	w.queue = NewQueue(w.ledger, QueueConfig{MaxPending: maxPending, OnYield: func(id string) { w.told = append(w.told, id) }})
	return w
}

// budgetOf is a budget of small amounts, now and then of one too large.
func budgetOf(arg byte) Budget {
	return Budget{CPUs: int64(arg&7) + 1, MemoryBytes: int64(arg>>3&15) + 1, DiskBytes: int64(arg % 3), Sandboxes: 1, Launches: int64(arg >> 6 & 1)}
}

// do makes one operation on both and compares them.
func (w *world) do(op, arg byte) {
	w.t.Helper()
	w.told = nil
	var pick *claim
	if len(w.claims) > 0 {
		pick = w.claims[int(arg)%len(w.claims)]
	}
	tenant := string('a' + rune(arg%4))
	switch op % 16 {
	case 0, 1:
		w.ask(tenant, budgetOf(arg))
	case 2, 3, 4:
		w.reserveWarm(WarmKey{Repo: tenant, Profile: fmt.Sprint(arg & 1)}, budgetOf(arg))
	case 5:
		if r, err := reserve(w.ledger, budgetOf(arg)); err == nil {
			w.claims = append(w.claims, &claim{r: r, budget: budgetOf(arg)})
			if w.pending() > 0 {
				w.t.Fatal("a reservation went round the queue")
			}
		}
	case 6:
		if arg < 16 { // Rare, or everything is above the whole all the time.
			w.claims = append(w.claims, &claim{r: w.ledger.Adopt(budgetOf(arg)), budget: budgetOf(arg)})
			w.most = w.most.Plus(budgetOf(arg))
		}
	case 7, 8, 12, 13, 14:
		if pick != nil {
			if got := pick.r.Release(); got == pick.released {
				w.t.Fatalf("release says %v, released before: %v", got, pick.released)
			}
			pick.released, pick.budget = true, Budget{}
		}
	case 9:
		if pick != nil {
			if err := pick.r.Promote(); (err == nil) != (pick.entry != "" && !pick.yielding && !pick.released) {
				w.t.Fatalf("promote of %+v: %v", pick, err)
			} else if err == nil {
				pick.entry = ""
				w.promoted++
			}
		}
	case 10:
		if pick != nil {
			if got := pick.r.Launched(); got != (pick.budget.Launches > 0) {
				w.t.Fatalf("launched says %v of %+v", got, pick)
			}
			pick.budget.Launches = 0
		}
	case 11, 15:
		if all := w.inLine(); arg < 150 && len(all) > 0 {
			w.cancel(all[int(arg)%len(all)])
		}
	}
	w.serve()
	w.check()
}

func (w *world) ask(tenant string, b Budget) {
	before, mine := w.pending(), len(w.waiting[tenant])
	ticket, err := w.queue.Ask(tenant, b)
	if may := before+mine < maxPending; err != nil {
		if may {
			w.t.Fatalf("refused with %d waiting, %d its own: %v", before, mine, err)
		}
		return
	} else if !may {
		w.t.Fatal("one more than may wait")
	}
	if len(w.waiting[tenant]) == 0 {
		w.turns = append(w.turns, tenant)
	}
	w.waiting[tenant] = append(w.waiting[tenant], &asked{ticket: ticket, tenant: tenant, budget: b})
}

func (w *world) reserveWarm(key WarmKey, b Budget) {
	w.ids++
	e := WarmEntry{ID: fmt.Sprint(w.ids), Key: key, Budget: b}
	r, err := w.ledger.ReserveWarm(e)
	if err != nil {
		return
	}
	if w.pending() > 0 {
		w.t.Fatal("a warm entry took what active work waits for")
	}
	w.claims = append(w.claims, &claim{r: r, budget: b, entry: e.ID, key: key})
}

func (w *world) cancel(a *asked) {
	a.ticket.Cancel()
	a.ticket.Cancel()
	w.leave(a)
}

func (w *world) leave(a *asked) {
	a.done = true
	w.waiting[a.tenant] = slices.DeleteFunc(w.waiting[a.tenant], func(o *asked) bool { return o == a })
	if len(w.waiting[a.tenant]) == 0 {
		w.turns = slices.DeleteFunc(w.turns, func(t string) bool { return t == a.tenant })
	}
}

// inLine returns the waiting claims in the order of service.
func (w *world) inLine() (out []*asked) {
	for round := 0; ; round++ {
		n := len(out)
		for _, tenant := range w.turns {
			if round < len(w.waiting[tenant]) {
				out = append(out, w.waiting[tenant][round])
			}
		}
		if len(out) == n {
			return out
		}
	}
}

func (w *world) pending() int { return len(w.inLine()) }

// fits is the naive fit with some warm entries thought away.
func (w *world) fits(b Budget, without func(*claim) bool) bool {
	var used Budget
	for _, c := range w.claims {
		if !without(c) {
			used = used.Plus(c.budget)
		}
	}
	limit := w.whole
	le := func(used, want, limit int64) bool { return want == 0 || used+want <= limit }
	return le(used.CPUs, b.CPUs, limit.CPUs) && le(used.MemoryBytes, b.MemoryBytes, limit.MemoryBytes) &&
		le(used.DiskBytes, b.DiskBytes, limit.DiskBytes) && le(used.Sandboxes, b.Sandboxes, limit.Sandboxes) &&
		le(used.Launches, b.Launches, limit.Launches)
}

func nobody(*claim) bool { return false }

// serve lets the model serve its line, and compares the admitted claims.
func (w *world) serve() {
	w.t.Helper()
	for all := w.inLine(); len(all) > 0 && w.fits(all[0].budget, nobody); all = w.inLine() {
		head := all[0]
		if !admitted(head.ticket) {
			w.t.Fatalf("the next in line of %d fits and waits", len(all))
		}
		w.turns = append(w.turns[1:], head.tenant)
		w.leave(head)
		w.claims = append(w.claims, &claim{r: head.ticket.Reservation(), budget: head.budget})
	}
	for i, a := range w.inLine() {
		if admitted(a.ticket) {
			w.t.Fatalf("number %d in line was admitted before its turn", i+1)
		}
		if got := a.ticket.Position(); got != i+1 {
			w.t.Fatalf("number %d in line gets %d", i+1, got)
		}
	}
}

// check compares the totals, and the yields with the rule for them.
func (w *world) check() {
	w.t.Helper()
	var want Usage
	var told []*claim
	for _, c := range w.claims {
		if c.entry == "" || c.released {
			want.Active = want.Active.Plus(c.budget)
		} else {
			want.Warm = want.Warm.Plus(c.budget)
		}
		if c.entry != "" && slices.Contains(w.told, c.entry) {
			if c.yielding || c.released {
				w.t.Fatalf("entry %s had to yield twice, or after its end", c.entry)
			}
			told = append(told, c)
		}
	}
	got := w.ledger.Usage()
	if got.Active != want.Active || got.Warm != want.Warm {
		w.t.Fatalf("got %+v, the claims add up to %+v", got, want)
	}
	if got.Active.Plus(got.Warm).Minus(w.whole).Minus(w.most) != (Budget{}) {
		w.t.Fatalf("more is used than there is: %+v", got)
	}
	if len(told) != len(w.told) {
		w.t.Fatalf("told %v, found %d", w.told, len(told))
	}
	w.checkYield(told)
	for _, c := range told {
		c.yielding = true
	}
	gone := 0 // Some stay, to be released again.
	for _, c := range w.claims {
		if c.released {
			gone++
		}
	}
	w.claims = slices.DeleteFunc(w.claims, func(c *claim) bool {
		if c.released {
			gone--
		}
		return c.released && gone >= 3
	})
}

func (w *world) checkYield(told []*claim) {
	w.t.Helper()
	going := func(c *claim) bool { return c.yielding || slices.Contains(told, c) }
	all := w.inLine()
	switch {
	case len(all) == 0:
		if len(told) > 0 {
			w.t.Fatal("a yield without a waiter")
		}
	case w.fits(all[0].budget, going):
		for _, c := range told {
			if w.fits(all[0].budget, func(o *claim) bool { return o != c && going(o) }) {
				w.t.Fatalf("entry %s need not have yielded", c.entry)
			}
		}
	default:
		if len(told) > 0 {
			w.t.Fatal("a needless yield")
		}
		if w.fits(all[0].budget, func(c *claim) bool { return c.entry != "" }) {
			w.t.Fatal("the next in line waits though warm entries could yield")
		}
	}
	key := func(id string) WarmKey {
		return told[slices.IndexFunc(told, func(c *claim) bool { return c.entry == id })].key
	}
	if !slices.IsSortedFunc(w.told, func(a, b string) int { return key(a).Compare(key(b)) }) {
		w.t.Fatalf("yield out of order: %v", w.told)
	}
}

// end lets everything go and checks that nothing is left.
func (w *world) end() {
	w.t.Helper()
	for _, a := range w.inLine() {
		w.cancel(a)
		w.serve()
	}
	for _, c := range w.claims {
		c.r.Release()
	}
	if u := w.ledger.Usage(); u.Active != (Budget{}) || u.Warm != (Budget{}) || w.queue.Stats().Pending != 0 || len(w.ledger.entries) != 0 {
		w.t.Fatalf("left over: %+v, %+v", u, w.queue.Stats())
	}
}

func TestRandomOperationsAgreeWithANaiveModel(t *testing.T) {
	var admitted, yielded, cancelled, promoted int
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t)
			for range 400 {
				w.do(byte(random.Uint32()), byte(random.Uint32()))
			}
			s := w.queue.Stats()
			admitted, yielded, cancelled = admitted+int(s.Admitted), yielded+int(s.Yielded), cancelled+int(s.Cancelled)
			promoted += w.promoted
			w.end()
		})
	}
	t.Logf("admitted %d, yielded %d, cancelled %d, promoted %d", admitted, yielded, cancelled, promoted)
	if min(admitted, yielded, cancelled, promoted) < 100 {
		t.Error("the walks hardly went where it matters")
	}
}

func FuzzOperationsAgreeWithANaiveModel(f *testing.F) {
	f.Add([]byte("\x00\x01\x03\x02\x00\xff\x07\x00\x09\x01\x0a\x02\x0b\x03"))
	f.Add([]byte{3, 4, 3, 4, 3, 4, 0, 7, 0, 7, 7, 0, 7, 1, 11, 210, 11, 1, 6, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		w := newWorld(t)
		for pair := range slices.Chunk(ops[:min(len(ops), 600)], 2) {
			w.do(pair[0], pair[len(pair)-1])
		}
		w.end()
	})
}
