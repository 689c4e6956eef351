package capacity

import (
	"cmp"
	"slices"
)

// WarmKey says what a warm entry is good for. Keys have an order: by
// repository, then template, then profile.
type WarmKey struct {
	Repo     string
	Template string
	Profile  string
}

// Compare returns -1, 0 or +1 as k comes before, with or after o.
func (k WarmKey) Compare(o WarmKey) int {
	return cmp.Or(cmp.Compare(k.Repo, o.Repo), cmp.Compare(k.Template, o.Template), cmp.Compare(k.Profile, o.Profile))
}

// WarmEntry is a ready, unused sandbox of a warm pool.
type WarmEntry struct {
	// ID is the owner's name for it, and is unique among the warm entries.
	ID     string
	Key    WarmKey
	Budget Budget
}

// insert adds r to the entries, behind all others of its key.
func (l *Ledger) insert(r *Reservation) {
	i, _ := slices.BinarySearchFunc(l.entries, r.key, func(e *Reservation, key WarmKey) int {
		return cmp.Or(e.key.Compare(key), -1)
	})
	if i > 0 && l.entries[i-1].key == r.key {
		r.order = l.entries[i-1].order + 1
	}
	l.entries = slices.Insert(l.entries, i, r)
}

func (l *Ledger) remove(r *Reservation) {
	i, found := slices.BinarySearchFunc(l.entries, r, func(e, r *Reservation) int {
		return cmp.Or(e.key.Compare(r.key), cmp.Compare(e.order, r.order))
	})
	if found {
		l.entries = slices.Delete(l.entries, i, i+1)
	}
}

// plan returns the warm entries that would have to go, besides those that are
// yielding already, for want to fit: in order of eviction, and none that is not
// needed. It changes nothing. If want does not fit even without any warm entry, it
// returns none and an *Error. The ledger's lock is held.
func (l *Ledger) plan(want Budget) ([]*Reservation, error) {
	used, candidates := l.used(), []*Reservation(nil)
	for _, r := range l.entries {
		if r.state == yielding {
			used = used.Minus(r.budget) // It is on its way out.
		} else {
			candidates = append(candidates, r)
		}
	}
	return plan(l.capacity, used, candidates, want)
}

// plan chooses from entries, which are part of used, those that must go for
// want to fit: the first that suffice, less those that the later ones make
// needless. It is nil if want fits as it is.
func plan(capacity, used Budget, entries []*Reservation, want Budget) ([]*Reservation, error) {
	rest := used
	for _, r := range entries {
		rest = rest.Minus(r.budget)
	}
	if err := fit(capacity, rest, want); err != nil {
		return nil, err // Also the quick answer to most calls on a full machine.
	}
	fits := func(used Budget) bool { return fit(capacity, used, want) == nil }
	n := 0
	for ; !fits(used); n++ {
		used = used.Minus(entries[n].budget)
	}
	// Backwards, so that of two that could stay the one evicted last does.
	var evict []*Reservation
	for _, r := range slices.Backward(entries[:n]) {
		if kept := used.Plus(r.budget); fits(kept) {
			used = kept
		} else {
			evict = append(evict, r)
		}
	}
	slices.Reverse(evict)
	return evict, nil
}
