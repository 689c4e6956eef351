package timeline

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type subject struct{ version int }

func (s *subject) Version() int { return s.version }

type (
	kind  uint8
	event = Event[kind, *subject]
)

func TestEventsComeInOrderOfTimeAndThenOfMaking(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h heap[kind, *subject]
	var want []event
	for i := range uint64(2000) {
		e := event{at: time.Duration(r.IntN(50)), seq: i}
		h.push(e)
		want = append(want, e)
		if i%3 == 0 { // pops in between keep the order of what is left.
			first := h.pop()
			i := slices.IndexFunc(want, func(e event) bool { return e == first })
			for _, e := range want {
				if e.before(first) {
					t.Fatalf("%+v came before %+v", first, e)
				}
			}
			want = slices.Delete(want, i, i+1)
		}
	}
	slices.SortFunc(want, func(a, b event) int {
		if a.before(b) {
			return -1
		}
		return 1
	})
	for _, e := range want {
		if got := h.pop(); got != e {
			t.Fatalf("got %+v, want %+v", got, e)
		}
	}
	if len(h) != 0 {
		t.Errorf("%d are left", len(h))
	}
}

func TestAChangeOfStateMakesEarlierEventsVoid(t *testing.T) {
	tl := New[kind, *subject]()
	s := &subject{}
	tl.After(time.Second, 1, s)
	tl.After(2*time.Second, 2, nil)
	s.version++
	tl.After(3*time.Second, 3, s)
	var got []kind
	for e, ok := tl.Next(); ok; e, ok = tl.Next() {
		got = append(got, e.Kind)
	}
	if !slices.Equal(got, []kind{2, 3}) || tl.Count() != 2 {
		t.Errorf("the events %v happened, %d are counted; want 2 and 3", got, tl.Count())
	}
}

func TestTheClockIsAtTheLastEvent(t *testing.T) {
	tl := New[kind, *subject]()
	tl.After(time.Minute, 1, nil)
	if tl.Now() != 0 {
		t.Errorf("it starts at %v", tl.Now())
	}
	tl.Next()
	tl.After(time.Second, 1, nil)
	tl.Next()
	if want := 61 * time.Second; tl.Now() != want || !tl.Time().Equal(time.Unix(61, 0)) {
		t.Errorf("it is %v, %v; want %v", tl.Now(), tl.Time(), want)
	}
	if _, ok := tl.Next(); ok || tl.Now() != 61*time.Second {
		t.Errorf("without events it is %v", tl.Now())
	}
}

func TestTheDigestIsOfWhatHappened(t *testing.T) {
	digest := func(at time.Duration, k kind, fold ...uint64) Digest {
		tl := New[kind, *subject]()
		tl.After(at, k, nil)
		tl.Next()
		tl.Fold(fold...)
		tl.After(time.Second, 7, nil) // It has not happened.
		return tl.Digest()
	}
	if again := digest(1, 2, 3); digest(1, 2, 3) != again {
		t.Error("equal events have different digests")
	}
	seen := map[Digest]bool{New[kind, *subject]().Digest(): true}
	for _, d := range []Digest{digest(1, 2, 3), digest(2, 2, 3), digest(1, 3, 3), digest(1, 2, 4), digest(1, 2)} {
		if seen[d] {
			t.Errorf("the digest %v is not of time, kind and words", d)
		}
		seen[d] = true
	}
	if got := Digest(0xab).String(); got != "00000000000000ab" {
		t.Errorf("it is printed as %s", got)
	}
}
