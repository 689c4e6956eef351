package snapshot

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// artifact is a row of driver's, made ago before now.
func artifact(id, parent Ref, driver string, ago time.Duration) Manifest {
	m := sample()
	m.ID, m.Parent, m.Stamp.Driver, m.CreatedAt = id, parent, driver, now.Add(-ago)
	return m
}

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
		rows    []Manifest
		held    []Ref
		want    []Ref
		missing []Missing
	}{
		"nothing at all":            {},
		"referenced":                {present: []Present{on("a", old)}, rows: []Manifest{artifact("a", "", "gvisor", old)}, held: []Ref{"a"}},
		"row that nothing needs":    {present: []Present{on("a", old)}, rows: []Manifest{artifact("a", "", "gvisor", old)}, want: []Ref{"a"}},
		"files without a row":       {present: []Present{on("a", old)}, want: []Ref{"a"}},
		"exactly the age":           {present: []Present{on("a", limit)}, want: []Ref{"a"}},
		"save in flight":            {present: []Present{on("a", young)}},
		"save that has a reference": {present: []Present{on("a", old)}, held: []Ref{"a"}},
		"clock set back":            {present: []Present{on("a", -old)}},
		"row is young, files old":   {present: []Present{on("a", old)}, rows: []Manifest{artifact("a", "", "gvisor", young)}},
		"row without files":         {rows: []Manifest{artifact("a", "", "gvisor", old)}, missing: []Missing{{"a", false}}},
		"needed and without files":  {rows: []Manifest{artifact("a", "", "gvisor", old)}, held: []Ref{"a"}, missing: []Missing{{"a", true}}},
		"intent before its files":   {rows: []Manifest{artifact("a", "", "gvisor", young)}},
		"parent of a full snapshot": {
			present: []Present{on("b", old), on("a", old)},
			rows:    []Manifest{artifact("a", "", "gvisor", old), artifact("b", "a", "gvisor", old)},
			held:    []Ref{"b"}, want: []Ref{"a"},
		},
		"ancestors of a difference": {
			present: []Present{on("c", old), on("b", old), on("a", old), on("d", old)},
			rows: []Manifest{artifact("a", "", "unknown", old), artifact("b", "a", "unknown", old),
				artifact("c", "b", "unknown", old), artifact("d", "c", "unknown", old)},
			held: []Ref{"c"}, want: []Ref{"d"},
		},
		"differences in a circle": {
			present: []Present{on("a", old), on("b", old)},
			rows:    []Manifest{artifact("a", "b", "unknown", old), artifact("b", "a", "unknown", old)},
			held:    []Ref{"a"},
		},
		"sorted": {present: []Present{on("c", old), on("a", old), on("b", old)}, want: []Ref{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, missing := Plan(tc.present, tc.rows, tc.held, now, limit)
			if !slices.Equal(refs(got), tc.want) || !slices.Equal(missing, tc.missing) {
				t.Errorf("got %+v, missing %+v", got, missing)
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
		age := func() time.Duration { return time.Duration(rnd.IntN(20)-2) * time.Minute }
		minAge := time.Duration(rnd.IntN(12)-1) * time.Minute
		var present []Present
		var rows []Manifest
		var held []Ref
		for range rnd.IntN(12) {
			present = append(present, on(id(), age()))
		}
		for range rnd.IntN(12) {
			rows = append(rows, artifact(id(), id(), []string{"gvisor", "unknown"}[rnd.IntN(2)], age()))
		}
		for range rnd.IntN(6) {
			held = append(held, id())
		}
		got, missing := Plan(present, rows, held, now, minAge)
		byID := map[Ref]Manifest{}
		for _, m := range rows {
			byID[m.ID] = m
		}
		for _, d := range got {
			if slices.Contains(held, d.Ref) {
				t.Fatalf("seed %d: %s is referenced", seed, d.Ref)
			}
			if now.Sub(d.ModifiedAt) < minAge || !slices.Contains(present, d.Present) {
				t.Fatalf("seed %d: %+v", seed, d)
			}
			for _, h := range held {
				chain, _ := Ancestors(h, func(r Ref) (Manifest, bool) { m, ok := byID[r]; return m, ok && m.Stamp.Driver == "unknown" })
				if m, ok := byID[h]; ok && m.Stamp.Driver == "unknown" && (m.Parent == d.Ref || slices.ContainsFunc(chain, func(a Manifest) bool { return a.ID == d.Ref })) {
					t.Fatalf("seed %d: %s is an ancestor of %s", seed, d.Ref, h)
				}
			}
		}
		for _, p := range present {
			if slices.ContainsFunc(missing, func(m Missing) bool { return m.Ref == p.Ref }) {
				t.Fatalf("seed %d: %s is there and missing", seed, p.Ref)
			}
		}
		// The order of the inputs does not matter, except which of two rows of
		// one id counts.
		slices.Reverse(present)
		slices.Reverse(held)
		if again, _ := Plan(present, rows, held, now, minAge); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: not deterministic", seed)
		}
	}
}

func TestAncestors(t *testing.T) {
	rows := map[Ref]Manifest{}
	add := func(id, parent Ref) { rows[id] = artifact(id, parent, "gvisor", 0) }
	add("root", "")
	add("a", "root")
	add("b", "a")
	add("orphan", "gone")
	add("self", "self")
	add("x", "y")
	add("y", "x")
	add("into", "x")
	for i := range MaxDepth + 2 {
		add(Ref(fmt.Sprint("deep", i)), Ref(fmt.Sprint("deep", i+1)))
	}
	byID := func(r Ref) (Manifest, bool) { m, ok := rows[r]; return m, ok }
	for id, tc := range map[Ref]struct {
		want string
		bad  bool
	}{
		"root": {"", false}, "a": {"root", false}, "b": {"a root", false}, "unknown": {"", false},
		"orphan": {"", false}, "self": {"", true}, "x": {"y", true}, "into": {"x y", true},
	} {
		chain, err := Ancestors(id, byID)
		var got []string
		for _, m := range chain {
			got = append(got, string(m.ID))
		}
		if strings.Join(got, " ") != tc.want || errors.Is(err, ErrLineage) != tc.bad {
			t.Errorf("%s: got %v, %v", id, got, err)
		}
	}
	if chain, err := Ancestors("deep0", byID); len(chain) != MaxDepth || !errors.Is(err, ErrLineage) {
		t.Errorf("a deep lineage: %d, %v", len(chain), err)
	}
	if chain, err := Ancestors("deep2", byID); len(chain) != MaxDepth-1 || err != nil {
		t.Errorf("a lineage as deep as allowed: %d, %v", len(chain), err)
	}
}
