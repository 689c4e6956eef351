package snapshot

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func on(id Ref, ago time.Duration) Present {
	return Present{Ref: id, VMID: "vm-" + string(id), SnapshotID: "ready", ModifiedAt: now.Add(-ago)}
}

func refs(deletions []Deletion) (out []Ref) {
	for _, d := range deletions {
		out = append(out, d.Ref)
	}
	return out
}

func TestCollectionPlan(t *testing.T) {
	const old, young, limit = 10 * time.Minute, time.Minute, 5 * time.Minute
	for name, tc := range map[string]struct {
		present []Present
		held    []Ref
		want    []Ref
	}{
		"nothing at all":            {},
		"referenced":                {present: []Present{on("a", old)}, held: []Ref{"a"}},
		"files that nothing needs":  {present: []Present{on("a", old)}, want: []Ref{"a"}},
		"exactly the age":           {present: []Present{on("a", limit)}, want: []Ref{"a"}},
		"save in flight":            {present: []Present{on("a", young)}},
		"save that has a reference": {present: []Present{on("a", young)}, held: []Ref{"a"}},
		"clock set back":            {present: []Present{on("a", -old)}},
		"reference without files":   {held: []Ref{"a"}},
		"sorted":                    {present: []Present{on("c", old), on("a", old), on("b", old)}, want: []Ref{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Plan(tc.present, tc.held, now, limit)
			if !slices.Equal(refs(got), tc.want) {
				t.Errorf("got %+v", got)
			}
			for _, d := range got {
				if d.Why == "" || d.VMID != "vm-"+string(d.Ref) || d.SnapshotID != "ready" {
					t.Errorf("got %+v", d)
				}
			}
		})
	}
}

func TestNothingReferencedIsEverCollected(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		id := func() Ref { return Ref(fmt.Sprint("s", rnd.IntN(12))) }
		minAge := time.Duration(rnd.IntN(12)-1) * time.Minute
		var present []Present
		var held []Ref
		for range rnd.IntN(12) {
			present = append(present, on(id(), time.Duration(rnd.IntN(20)-2)*time.Minute))
		}
		for range rnd.IntN(6) {
			held = append(held, id())
		}
		got := Plan(present, held, now, minAge)
		for _, d := range got {
			if slices.Contains(held, d.Ref) {
				t.Fatalf("seed %d: %s is referenced", seed, d.Ref)
			}
			if now.Sub(d.ModifiedAt) < minAge || !slices.Contains(present, d.Present) {
				t.Fatalf("seed %d: %+v", seed, d)
			}
		}
		// The order of the inputs does not matter.
		slices.Reverse(present)
		slices.Reverse(held)
		if again := Plan(present, held, now, minAge); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: not deterministic", seed)
		}
	}
}
