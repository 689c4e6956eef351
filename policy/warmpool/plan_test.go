package warmpool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// short writes a plan as "launch a ready, retire a x (too old)".
func short(plan []Action) string {
	var out []string
	for _, a := range plan {
		s := fmt.Sprintf("%v %s%s", a.Op, a.Key.Repo, a.Key.Template)
		switch a.Op {
		case Launch:
			s += " " + a.Stage.String()
		case Raise:
			s += " " + a.ID
		case Retire:
			s += fmt.Sprintf(" %s (%s)", a.ID, a.Why)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func expect(t *testing.T, p *Pool, now time.Time, lim Limits, want string) []Action {
	t.Helper()
	plan := p.Plan(now, lim)
	if got := short(plan); got != want {
		t.Errorf("got  %q,\nwant %q", got, want)
	}
	return plan
}

// limited is Unlimited with one thing changed.
func limited(change func(*Limits)) Limits {
	lim := Unlimited
	change(&lim)
	return lim
}

func TestPlanOrderIsDeterministicByKeyAndReadyBeforePrepared(t *testing.T) {
	targets := map[Key]Target{keyA: {Ready: 2, Prepared: 1}, keyB: {Ready: 1}, keyC: {Prepared: 1}}
	want := "launch ra ready, launch rb ready, launch ra ready, launch ra prepared, launch sa prepared"
	for range 20 {
		expect(t, newPool(targets), t0, Unlimited, want)
	}
}

func TestWhatIsOnItsWayIsNotLaunchedTwice(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 2}})
	plan := expect(t, p, t0, Unlimited, "launch ra ready, launch ra ready")
	f := begin(t, p, plan[0], t0)
	expect(t, p, t0, Unlimited, "launch ra ready")
	g := begin(t, p, plan[1], t0)
	expect(t, p, t0, Unlimited, "")
	f.Cancel()
	if err := f.Done("late", t0); !errors.Is(err, ErrEnded) {
		t.Errorf("a machine for a flight that was cancelled: %v, want ErrEnded", err)
	}
	expect(t, p, t0, Unlimited, "launch ra ready")
	if err := g.Done("x", at(1)); err != nil {
		t.Fatal(err)
	}
	g.Fail(at(1)) // the flight has ended: nothing happens.
	if s := stats(t, p, keyA, at(1)); s.Failures != 0 || s.Ready != 1 || s.InFlight != 0 {
		t.Errorf("got %+v", s)
	}
	expect(t, p, at(1), Unlimited, "launch ra ready")
}

func TestAPreparedEntryIsRaisedAndReplaced(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 2, Prepared: 1}})
	put(t, p, keyA, Prepared, t0, "x")
	plan := expect(t, p, t0, Unlimited, "raise ra x, launch ra ready, launch ra prepared")
	f := begin(t, p, plan[0], t0)
	if e, ok := p.Checkout(keyA, t0); ok {
		t.Errorf("an entry that is being raised was handed out: %+v", e)
	}
	if f.Entry.ID != "x" || f.Snapshot != "v1" {
		t.Errorf("got %+v", f)
	}
	if err := f.Done("x", at(1)); err != nil {
		t.Fatal(err)
	}
	if e, ok := p.Checkout(keyA, at(1)); !ok || e.ID != "x" || e.Stage != Ready || !e.Since.Equal(at(1)) {
		t.Errorf("got %+v %v, want x, ready since it was raised", e, ok)
	}
}

func TestEntriesOfAnotherSnapshotAreRetiredAndReplaced(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 1, Prepared: 1}})
	put(t, p, keyA, Ready, t0, "x")
	put(t, p, keyA, Prepared, t0, "y")
	late := begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, t0)
	p.SetSnapshot(keyA, "v2")
	if err := late.Done("late", at(1)); err != nil {
		t.Fatal(err)
	}
	plan := expect(t, p, at(1), Unlimited, "retire ra x (stale snapshot), retire ra late (stale snapshot), "+
		"retire ra y (stale snapshot), launch ra ready, launch ra prepared")
	if f := begin(t, p, plan[3], at(1)); f.Snapshot != "v2" {
		t.Errorf("launched from %q, want v2", f.Snapshot)
	}
}

func TestAnAgeingEntryIsReplacedBeforeItIsTooOld(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 1, MaxAge: 100 * time.Second}})
	put(t, p, keyA, Ready, t0, "x")
	expect(t, p, at(79), Unlimited, "")
	plan := expect(t, p, at(80), Unlimited, "launch ra ready")
	f := begin(t, p, plan[0], at(80))
	expect(t, p, at(81), Unlimited, "") // x stays warm until its replacement is there.
	if err := f.Done("y", at(82)); err != nil {
		t.Fatal(err)
	}
	expect(t, p, at(82), Unlimited, "retire ra x (too old)")
	expect(t, p, at(100), Unlimited, "retire ra x (too old)")
}

func TestWithoutRoomForAReplacementAnEntryServesUntilItIsTooOld(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 1, MaxAge: 100 * time.Second}})
	put(t, p, keyA, Ready, t0, "x")
	one := limited(func(l *Limits) { l.Ready = 1 })
	expect(t, p, at(99), one, "")
	expect(t, p, at(100), one, "retire ra x (too old), launch ra ready")
}

func TestALoweredTargetRetiresTheOldest(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 3, Prepared: 2}})
	put(t, p, keyA, Ready, t0, "r1", "r2", "r3")
	put(t, p, keyA, Prepared, t0, "p1", "p2")
	expect(t, p, t0, Unlimited, "")
	p.SetTarget(keyA, Target{Ready: 1, Prepared: 1})
	expect(t, p, t0, Unlimited, "retire ra r1 (target lowered), retire ra r2 (target lowered), retire ra p1 (target lowered)")
}

func TestLimitsCutTheLargestTargetsFirst(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 4}, keyB: {Ready: 1}, keyC: {Ready: 2}})
	expect(t, p, t0, limited(func(l *Limits) { l.Ready = 4 }), "launch ra ready, launch rb ready, launch sa ready, launch ra ready")
	put(t, p, keyA, Ready, t0, "a1", "a2", "a3", "a4")
	expect(t, p, t0, limited(func(l *Limits) { l.Ready = 3 }), "retire ra a1 (target lowered), retire ra a2 (target lowered), "+
		"retire ra a3 (target lowered)")
	expect(t, p, t0, Limits{}, "retire ra a1 (target lowered), retire ra a2 (target lowered), "+
		"retire ra a3 (target lowered), retire ra a4 (target lowered)")
}

func TestALimitThatIsReachedMovesNothingButForAKeyBelowHalfOfItsShare(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 4}, keyB: {Ready: 4}, keyC: {Ready: 4}})
	put(t, p, keyA, Ready, t0, "a1", "a2", "a3", "a4")
	put(t, p, keyB, Ready, t0, "b1")
	put(t, p, keyC, Ready, t0, "c1")
	six := limited(func(l *Limits) { l.Ready = 6 })
	expect(t, p, t0, six, "")
	p.Checkout(keyB, t0)
	expect(t, p, t0, six, "launch rb ready")
	put(t, p, keyC, Ready, t0, "c2")
	plan := expect(t, p, t0, six, "retire ra a1 (target lowered)")
	begin(t, p, plan[0], t0)
	expect(t, p, t0, six, "launch rb ready")
}

func TestRefillStepsAllowMoreAndMore(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 2, Prepared: 1}})
	put(t, p, keyA, Prepared, t0, "x")
	for refill, want := range map[Refill]string{
		RefillNone:  "",
		RefillRaise: "raise ra x",
		RefillReady: "raise ra x, launch ra ready",
		RefillAll:   "raise ra x, launch ra ready, launch ra prepared",
	} {
		expect(t, p, t0, limited(func(l *Limits) { l.Refill = refill }), want)
	}
}

func TestNoKeyWaitsForAnotherToBeFull(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 5}, keyB: {Ready: 5}, keyC: {Ready: 5}})
	one := limited(func(l *Limits) { l.InFlight = 1 })
	var got []string
	for i := range 9 { // Each entry is used at once, so every key is always empty.
		now := at(float64(i))
		plan := p.Plan(now, one)
		if len(plan) != 1 {
			t.Fatalf("got %v", plan)
		}
		f := begin(t, p, plan[0], now)
		if next := p.Plan(now, one); len(next) != 0 {
			t.Fatalf("more than one in flight: %v", next)
		}
		if err := f.Done(fmt.Sprint(i), now); err != nil {
			t.Fatal(err)
		}
		p.Checkout(plan[0].Key, now)
		got = append(got, plan[0].Key.Repo+plan[0].Key.Template)
	}
	if want := strings.Fields("ra rb sa ra rb sa ra rb sa"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAFailingKeyIsBackedOffAndDelaysNoOther(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 2}, keyB: {Ready: 1}})
	plan := expect(t, p, t0, Unlimited, "launch ra ready, launch rb ready, launch ra ready")
	f, g := begin(t, p, plan[0], t0), begin(t, p, plan[2], t0)
	f.Fail(at(0.1))
	g.Fail(at(0.2)) // of the same wave: the back-off does not double.
	expect(t, p, at(1), Unlimited, "launch rb ready")
	expect(t, p, at(1.1), Unlimited, "launch rb ready, launch ra ready") // one at a time, after the longer waiting one.
	now, waits := at(1.1), []time.Duration(nil)
	for range 8 {
		begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, now).Fail(now)
		next := stats(t, p, keyA, now).RetryAt
		waits = append(waits, next.Sub(now)/time.Second)
		now = next
	}
	if want := []time.Duration{2, 4, 8, 16, 32, 60, 60, 60}; !slices.Equal(waits, want) {
		t.Errorf("backed off for %v s, want %v s", waits, want)
	}
	if err := begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, now).Done("x", now); err != nil {
		t.Fatal(err)
	}
	begin(t, p, Action{Op: Launch, Key: keyA, Stage: Ready}, now).Fail(now)
	if got := stats(t, p, keyA, now).RetryAt.Sub(now); got != time.Second {
		t.Errorf("after a success the first back-off is %v, want 1 s", got)
	}
	p.SetSnapshot(keyA, "v2")
	if got := stats(t, p, keyA, now).RetryAt; !got.IsZero() {
		t.Errorf("a new snapshot is backed off until %v for the failures of the old", got)
	}
}

func TestAFailedRaiseLeavesTheEntryToTheOwnerOfTheFlight(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 1}})
	put(t, p, keyA, Prepared, t0, "x")
	f := begin(t, p, Action{Op: Raise, Key: keyA, Stage: Ready, ID: "x"}, t0)
	f.Fail(at(1))
	if s := stats(t, p, keyA, at(1)); s.Prepared != 0 || s.Failures != 1 || s.InFlight != 0 {
		t.Errorf("got %+v", s)
	}
}

// TestPlansConverge drives the pool with the loop that a service has: whatever
// fails in one pass, the next ones reach the target, and nothing is exceeded.
func TestPlansConvergeAlthoughEveryThirdLaunchFails(t *testing.T) {
	p := newPool(map[Key]Target{keyA: {Ready: 3, Prepared: 2}, keyB: {Ready: 2}, keyC: {Ready: 1}})
	n := 0
	now := t0
	for range 200 {
		now = now.Add(time.Second)
		for _, a := range p.Plan(now, limited(func(l *Limits) { l.InFlight = 2 })) {
			f := begin(t, p, a, now)
			if n++; n%3 == 0 {
				f.Fail(now)
				continue
			}
			id := a.ID
			if a.Op == Launch {
				id = fmt.Sprint(n)
			}
			if err := f.Done(id, now); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range p.Stats(now) {
			if s.Ready > s.Target.Ready || s.Prepared > s.Target.Prepared {
				t.Fatalf("more than the target: %+v", s)
			}
		}
	}
	for _, s := range p.Stats(now) {
		if s.Ready != s.Target.Ready || s.Prepared != s.Target.Prepared {
			t.Errorf("not filled: %+v", s)
		}
	}
}

func BenchmarkCheckout(b *testing.B) {
	p := &Pool{}
	p.SetSnapshot(keyA, "v1")
	for i := range 100 {
		give(p, Entry{ID: fmt.Sprint(i), Key: keyA, Stage: Ready, Snapshot: "v1"})
	}
	for b.Loop() {
		e, _ := p.Checkout(keyA, t0)
		give(p, e)
	}
}

func BenchmarkPlanOfAFullPool(b *testing.B) {
	p := newPool(map[Key]Target{keyA: {Ready: 10}, keyB: {Ready: 10}})
	for i := range 20 {
		give(p, Entry{ID: fmt.Sprint(i), Key: []Key{keyA, keyB}[i%2], Stage: Ready, Snapshot: "v1", Since: t0})
	}
	for b.Loop() {
		if plan := p.Plan(t0, Unlimited); len(plan) != 0 {
			b.Fatal(plan)
		}
	}
}

func TestARefillLeavesAProcessorAndNeedsRoom(t *testing.T) {
	for launches, want := range map[int]int{1: 1, 2: 1, 8: 4} {
		if got := Unlimited.Refilling(launches, true); got.InFlight != want || got.Refill != RefillAll {
			t.Errorf("with %d launches: %+v, want %d in flight", launches, got, want)
		}
	}
	if got := (Limits{InFlight: 1, Refill: RefillAll}).Refilling(8, false); got.InFlight != 1 || got.Refill != RefillNone {
		t.Errorf("without room: %+v", got)
	}
}

func TestARefillRestsAfterACheckoutUnlessThePoolIsEmpty(t *testing.T) {
	at := time.Unix(100, 0)
	if got := Rest(at.Add(Cooldown/3), at, 1); got != Cooldown*2/3 {
		t.Errorf("got %v", got)
	}
	if got := Rest(at, at, 0); got > 0 {
		t.Errorf("an empty pool waits %v", got)
	}
}
