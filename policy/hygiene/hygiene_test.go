package hygiene

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const old, limit = time.Hour, time.Minute

// mine is an old thing of this instance.
func mine(kind Kind, name, owner string) Found {
	return Found{Object{kind, name}, "us", owner, old}
}

func names(orphans []Orphan) (out []string) {
	for _, o := range orphans {
		out = append(out, string(o.Kind)+" "+o.Name)
	}
	return out
}

func TestOrphansOfEveryKindAreFreedInOrder(t *testing.T) {
	found := []Found{
		mine(KindNetNS, "/run/netns/y", "dead"), mine(KindNetNS, "/run/netns/x", "dead"),
		mine(KindProcess, "12:345", "dead"), mine(KindProcess, "11:345", "dead"),
	}
	want := []string{"process 11:345", "process 12:345", "netns /run/netns/x", "netns /run/netns/y"}
	for range 20 {
		rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		got := Orphans(found, Owned{Instance: "us", Owners: map[string]bool{"alive": true}}, limit)
		if !slices.Equal(names(got), want) {
			t.Fatalf("got %q", names(got))
		}
		for _, o := range got {
			if !strings.Contains(o.Why, "dead") {
				t.Errorf("got %+v", o)
			}
		}
	}
}

func TestNothingOfSomebodyElseOrOfSomethingLiveIsFreed(t *testing.T) {
	change := func(f func(*Found)) Found {
		out := mine(KindNetNS, "/run/a", "dead")
		f(&out)
		return out
	}
	owned := Owned{Instance: "us", Owners: map[string]bool{"alive": true}}
	for name, tc := range map[string]struct {
		found []Found
		want  []string
	}{
		"orphan":                  {[]Found{mine(KindNetNS, "/run/a", "")}, []string{"netns /run/a"}},
		"of another instance":     {[]Found{change(func(f *Found) { f.Instance = "them" })}, nil},
		"of whom is not known":    {[]Found{change(func(f *Found) { f.Instance = "" })}, nil},
		"of something live":       {[]Found{change(func(f *Found) { f.Owner = "alive" })}, nil},
		"too young":               {[]Found{change(func(f *Found) { f.Age = limit - 1 })}, nil},
		"just old enough":         {[]Found{change(func(f *Found) { f.Age = limit })}, []string{"netns /run/a"}},
		"clock set back":          {[]Found{change(func(f *Found) { f.Age = -old })}, nil},
		"unknown kind":            {[]Found{change(func(f *Found) { f.Kind = "ghost" })}, nil},
		"without a name":          {[]Found{change(func(f *Found) { f.Name = "" })}, nil},
		"relative path":           {[]Found{change(func(f *Found) { f.Name = "run/a" })}, nil},
		"the root":                {[]Found{change(func(f *Found) { f.Name = "/" })}, nil},
		"path with ..":            {[]Found{change(func(f *Found) { f.Name = "/run/a/../.." })}, nil},
		"path with .":             {[]Found{change(func(f *Found) { f.Name = "/run/./a" })}, nil},
		"path with //":            {[]Found{change(func(f *Found) { f.Name = "/run//a" })}, nil},
		"a short path":            {[]Found{change(func(f *Found) { f.Name = "/a" })}, []string{"netns /a"}},
		"a process, not a path":   {[]Found{mine(KindProcess, "m1", "dead")}, []string{"process m1"}},
		"a live neighbour":        {[]Found{mine(KindNetNS, "/run/a", "dead"), mine(KindNetNS, "/run/ab", "alive")}, []string{"netns /run/a"}},
		"listed twice, once live": {[]Found{mine(KindNetNS, "/run/a", "dead"), mine(KindNetNS, "/run/a", "alive")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := names(Orphans(tc.found, owned, limit)); !slices.Equal(got, tc.want) {
				t.Errorf("got %q", got)
			}
		})
	}
	if got := Orphans([]Found{{Object{KindNetNS, "/run/a"}, "", "dead", old}}, Owned{}, 0); got != nil {
		t.Errorf("a daemon without a name owns %v", got)
	}
}

func TestOrphanPlanNeverTouchesWhatIsInUse(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
		var found []Found
		for range rnd.IntN(12) {
			object := Object{order[rnd.IntN(len(order))], "/" + pick("a", "b") + pick("", "/c", "/d")}
			found = append(found, Found{object, pick("us", "us", "them", ""), pick("", "x", "y", "z"), time.Duration(rnd.IntN(10)) * 20 * time.Second})
		}
		owned := Owned{Instance: "us", Owners: map[string]bool{pick("x", "y", "none"): true}}
		got := Orphans(found, owned, limit)
		for _, o := range got {
			if o.Instance != "us" || o.Age < limit || owned.Owners[o.Owner] || !slices.Contains(found, o.Found) {
				t.Fatalf("seed %d: %+v", seed, o)
			}
			for _, f := range found {
				if f.Object == o.Object && (owned.Owners[f.Owner] || f.Instance != "us" || f.Age < limit) {
					t.Fatalf("seed %d: %+v is in use as %+v", seed, o, f)
				}
			}
		}
		slices.Reverse(found)
		if again := Orphans(found, owned, limit); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: not deterministic:\n%s\n%s", seed, fmt.Sprint(got), fmt.Sprint(again))
		}
	}
}
