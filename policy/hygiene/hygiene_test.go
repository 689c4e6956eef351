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
	var found []Found
	for _, name := range []string{"/run/a", "/run/a/b", "/run/c"} {
		for _, kind := range []Kind{KindFile, KindCgroup, KindMount} {
			found = append(found, mine(kind, name, "dead"))
		}
	}
	found = append(found,
		mine(KindNftTable, "rundlet-us", "dead"), mine(KindLink, "veth1", "dead"), mine(KindNetNS, "/run/netns/x", "dead"),
		mine(KindProcess, "12:345", "dead"), mine(KindProcess, "11:345", "dead"))
	want := []string{
		"process 11:345", "process 12:345",
		"mount /run/a/b", "mount /run/a", "mount /run/c",
		"netns /run/netns/x", "link veth1", "nft_table rundlet-us",
		"cgroup /run/a/b", "cgroup /run/a", "cgroup /run/c",
		"file /run/a/b", "file /run/a", "file /run/c",
	}
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
		out := mine(KindFile, "/run/a", "dead")
		f(&out)
		return out
	}
	owned := Owned{Instance: "us", Owners: map[string]bool{"alive": true}, Objects: []Object{{KindLink, "br0"}, {KindFile, "/srv"}, {KindFile, "/base/image"}}}
	for name, tc := range map[string]struct {
		found []Found
		want  []string
	}{
		"of nobody":            {[]Found{mine(KindFile, "/run/a", "")}, []string{"file /run/a"}},
		"of another instance":  {[]Found{change(func(f *Found) { f.Instance = "them" })}, nil},
		"of whom is not known": {[]Found{change(func(f *Found) { f.Instance = "" })}, nil},
		"of something live":    {[]Found{change(func(f *Found) { f.Owner = "alive" })}, nil},
		"in use by name":       {[]Found{mine(KindLink, "br0", "")}, nil},
		"too young":            {[]Found{change(func(f *Found) { f.Age = limit - 1 })}, nil},
		"just old enough":      {[]Found{change(func(f *Found) { f.Age = limit })}, []string{"file /run/a"}},
		"clock set back":       {[]Found{change(func(f *Found) { f.Age = -old })}, nil},
		"unknown kind":         {[]Found{change(func(f *Found) { f.Kind = "ghost" })}, nil},
		"without a name":       {[]Found{change(func(f *Found) { f.Name = "" })}, nil},
		"relative path":        {[]Found{change(func(f *Found) { f.Name = "run/a" })}, nil},
		"the root":             {[]Found{change(func(f *Found) { f.Name = "/" })}, nil},
		"path with ..":         {[]Found{change(func(f *Found) { f.Name = "/run/a/../.." })}, nil},
		"path with .":          {[]Found{change(func(f *Found) { f.Name = "/run/./a" })}, nil},
		"path with //":         {[]Found{change(func(f *Found) { f.Name = "/run//a" })}, nil},
		"a short path":         {[]Found{change(func(f *Found) { f.Name = "/a" })}, []string{"file /a"}},
		"a live mount in it":   {[]Found{mine(KindFile, "/run/a", "dead"), mine(KindMount, "/run/a/m", "alive")}, nil},
		"a young file in it": {[]Found{mine(KindFile, "/run/a", "dead"),
			{Object{KindFile, "/run/a/new"}, "us", "dead", 0}}, nil},
		"another instance's file in it": {[]Found{mine(KindFile, "/run/a", "dead"), {Object{KindFile, "/run/a/x"}, "them", "", old}}, nil},
		"a file in use in it":           {[]Found{mine(KindFile, "/base", "dead")}, nil},
		"a live mount on it":            {[]Found{mine(KindFile, "/run/a", "dead"), mine(KindMount, "/run/a", "alive")}, nil},
		"a live neighbour":              {[]Found{mine(KindFile, "/run/a", "dead"), mine(KindFile, "/run/ab", "alive")}, []string{"file /run/a"}},
		"a live group of that path":     {[]Found{mine(KindFile, "/run/a", "dead"), mine(KindCgroup, "/run/a/b", "alive")}, []string{"file /run/a"}},
		"a live group in it":            {[]Found{mine(KindCgroup, "/rundlet", "dead"), mine(KindCgroup, "/rundlet/a", "alive")}, nil},
		"part of something live":        {[]Found{mine(KindFile, "/run/a/console", ""), mine(KindFile, "/run/a", "alive")}, nil},
		"dead, below something in use":  {[]Found{mine(KindFile, "/srv/a", "dead")}, []string{"file /srv/a"}},
		"listed twice, once live":       {[]Found{mine(KindFile, "/run/a", "dead"), mine(KindFile, "/run/a", "alive")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := names(Orphans(tc.found, owned, limit)); !slices.Equal(got, tc.want) {
				t.Errorf("got %q", got)
			}
		})
	}
	if got := Orphans([]Found{{Object{KindFile, "/run/a"}, "", "dead", old}}, Owned{}, 0); got != nil {
		t.Errorf("a daemon without a name owns %v", got)
	}
}

func TestOrphanPlanNeverTouchesWhatIsInUse(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
		object := func() Object {
			return Object{order[rnd.IntN(len(order))], "/" + pick("a", "b") + pick("", "/c", "/d") + pick("", "/e")}
		}
		var found []Found
		for range rnd.IntN(12) {
			found = append(found, Found{object(), pick("us", "us", "them", ""), pick("", "x", "y", "z"), time.Duration(rnd.IntN(10)) * 20 * time.Second})
		}
		owned := Owned{Instance: "us", Owners: map[string]bool{pick("x", "y", "none"): true}}
		for range rnd.IntN(3) {
			owned.Objects = append(owned.Objects, object())
		}
		got := Orphans(found, owned, limit)
		for i, o := range got {
			if o.Instance != "us" || o.Age < limit || owned.Owners[o.Owner] || !slices.Contains(found, o.Found) {
				t.Fatalf("seed %d: %+v", seed, o)
			}
			inUse := slices.Clone(owned.Objects)
			for _, f := range found {
				if owned.Owners[f.Owner] || f.Instance != "us" || f.Age < limit {
					inUse = append(inUse, f.Object)
				}
			}
			for _, u := range inUse {
				tree := func(k Kind) string {
					switch k {
					case KindMount, KindNetNS, KindFile:
						return "files"
					}
					return string(k)
				}
				inside := u.Name == o.Name || (o.paths() && strings.HasPrefix(u.Name, o.Name+"/"))
				if tree(u.Kind) == tree(o.Kind) && inside {
					t.Fatalf("seed %d: freeing %+v takes %+v with it", seed, o.Object, u)
				}
			}
			for _, later := range got[i+1:] {
				if later.Kind == o.Kind && o.paths() && strings.HasPrefix(later.Name, o.Name+"/") {
					t.Fatalf("seed %d: %s before %s", seed, o.Name, later.Name)
				}
			}
		}
		slices.Reverse(found)
		if again := Orphans(found, owned, limit); !reflect.DeepEqual(again, got) {
			t.Fatalf("seed %d: not deterministic:\n%s\n%s", seed, fmt.Sprint(got), fmt.Sprint(again))
		}
	}
}
