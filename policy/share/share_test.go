package share

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"testing"
	"time"
)

const processors = 2

// key is what a key uses, in milliseconds of processor time a second, and its parts.
type key struct{ ms, parts int }

// seconds gives a Use the same use for some seconds, and returns the keys that yield then.
func seconds(u *Use, n int, keys map[string]key) []string {
	used := map[string]Used{}
	for name, k := range keys {
		used[name] = Used{Time: time.Duration(k.ms) * time.Millisecond, Parts: k.parts}
	}
	var yield map[string]bool
	for range n {
		yield = u.Observe(time.Second, processors, used)
	}
	return slices.Sorted(maps.Keys(yield))
}

func TestTheModestKeysWithTheFewestMachinesGoFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		keys map[string]key
		want []string
	}{
		"no key":                        {nil, nil},
		"one key":                       {map[string]key{"a": {2000, 1}}, nil},
		"two that want all":             {map[string]key{"a": {1000, 1}, "b": {1000, 8}}, nil},
		"one that takes more":           {map[string]key{"a": {1500, 1}, "b": {400, 1}}, []string{"a"}},
		"one that takes it with one":    {map[string]key{"a": {1500, 1}, "b": {400, 8}}, []string{"a"}},
		"one that does nothing":         {map[string]key{"a": {1900, 8}, "b": {5, 1}}, nil},
		"both modest, one with many":    {map[string]key{"a": {500, 4}, "b": {600, 1}}, []string{"a"}},
		"both modest, both with one":    {map[string]key{"a": {500, 1}, "b": {600, 1}}, nil},
		"two that take, one that works": {map[string]key{"a": {900, 1}, "b": {900, 8}, "c": {200, 1}}, []string{"a", "b"}},
		"idle ones, one with many":      {map[string]key{"a": {0, 1}, "b": {0, 4}, "c": {400, 1}}, []string{"b"}},
		"idle keys take no share":       {map[string]key{"a": {1100, 4}, "b": {700, 1}, "c": {0, 1}, "d": {1, 1}, "e": {2, 1}}, []string{"a"}},
	} {
		if got := seconds(&Use{}, 5, tt.keys); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q yield, want %q", name, got, tt.want)
		}
	}
}

func TestWhoYieldsDoesNotChangeAtAnEdge(t *testing.T) {
	var u Use
	for _, step := range []struct {
		ms   int
		want []string
	}{{700, []string{"a"}}, {900, []string{"a"}}, {970, nil}, {900, nil}, {700, []string{"a"}}} {
		if got := seconds(&u, 9, map[string]key{"a": {1000, 4}, "b": {step.ms, 1}}); !slices.Equal(got, step.want) {
			t.Errorf("when b uses %d ms, %q yield, want %q", step.ms, got, step.want)
		}
	}
}

// Each round has the outcome of the kernel. A key gets what it wants, or most of its fair
// share, whatever the others do and however many machines they have.
func TestEachKeyGetsItsFairShareOverTime(t *testing.T) {
	const rounds = 600
	type demand struct {
		want  float64 // processors
		parts int
	}
	for title, keys := range map[string]map[string]demand{
		"two that want all":                  {"a": {2, 1}, "b": {2, 1}},
		"two that want all, one with many":   {"a": {2, 1}, "b": {2, 32}},
		"one wants little":                   {"a": {2, 1}, "b": {0.3, 1}},
		"three that want all":                {"a": {2, 1}, "b": {2, 4}, "c": {2, 16}},
		"one small among two large":          {"a": {2, 1}, "b": {2, 16}, "c": {0.2, 1}},
		"two small, one of them with two":    {"a": {2, 32}, "b": {0.2, 1}, "c": {0.3, 2}},
		"two large, and one small with some": {"a": {2, 1}, "b": {0.3, 4}, "c": {2, 32}},
		"many small, with many and few":      {"a": {2, 32}, "b": {0.3, 1}, "c": {0.3, 4}, "d": {0.3, 1}, "e": {0.3, 16}},
		"more small than there is room for":  {"a": {2, 1}, "b": {0.6, 1}, "c": {0.6, 4}, "d": {0.6, 1}, "e": {0.6, 16}},
	} {
		var u Use
		got, yield := map[string]float64{}, map[string]bool{}
		for range rounds {
			first, rest := map[string]demandOf{}, map[string]demandOf{}
			for name, k := range keys {
				if yield[name] {
					rest[name] = demandOf{k.want, float64(k.parts)}
				} else {
					first[name] = demandOf{k.want, 1}
				}
			}
			now := map[string]float64{}
			left := divide(now, processors, first) // By weight: a key is one part.
			divide(now, left, rest)                // Of those that yield each machine is one.
			used := map[string]Used{}
			for name, rate := range now {
				got[name] += rate / rounds
				used[name] = Used{Time: time.Duration(rate * float64(time.Second)), Parts: keys[name].parts}
			}
			yield = u.Observe(time.Second, processors, used)
		}
		for name, k := range keys {
			if least := 0.7 * math.Min(k.want, processors/float64(len(keys))); got[name] < least {
				t.Errorf("%s: %s got %.2f processors, want %.2f at least (%v)", title, name, got[name], least, got)
			}
		}
	}
}

// demandOf is what a key wants, and the weight with which it gets it.
type demandOf struct{ want, weight float64 }

// divide gives each key what it wants, or its part by weight of what the others leave,
// and returns what is left.
func divide(got map[string]float64, free float64, keys map[string]demandOf) float64 {
	names := slices.SortedFunc(maps.Keys(keys), func(a, b string) int {
		return cmp.Compare(keys[a].want/keys[a].weight, keys[b].want/keys[b].weight)
	})
	for i, name := range names {
		var weights float64
		for _, other := range names[i:] {
			weights += keys[other].weight
		}
		got[name] = math.Min(keys[name].want, free*keys[name].weight/weights)
		free -= got[name]
	}
	return free
}

func TestAKeyThatIsGoneIsForgottenAfterSomeSeconds(t *testing.T) {
	var u Use
	both := map[string]key{"a": {1500, 4}, "b": {300, 1}}
	seconds(&u, 3, both)
	if got := seconds(&u, 2, map[string]key{"a": {1500, 4}}); !slices.Equal(got, []string{"a"}) || u.Alone() {
		t.Errorf("%q yield to a key between two machines", got)
	}
	var other Use
	modest := map[string]key{"a": {500, 1}, "b": {300, 1}}
	seconds(&other, 3, modest)
	if got := seconds(&other, 1, map[string]key{"a": {500, 1}}); len(got) > 0 {
		t.Errorf("%q yield to another with one machine, which is between two", got)
	}
	if got := seconds(&u, 1, both); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q yield when it is back", got)
	}
	if got := seconds(&u, 10, map[string]key{"a": {1500, 4}}); len(got) > 0 || len(u.rates) != 1 || len(u.modest) != 0 || !u.Alone() {
		t.Errorf("%q yield, and %v and %v are left", got, u.rates, u.modest)
	}
	if got := u.Observe(0, processors, map[string]Used{"a": {}}); got != nil {
		t.Errorf("in no time: %v", got)
	}
}

// How often the keys are looked at makes no difference.
func TestUseFadesWithTime(t *testing.T) {
	var often, seldom Use
	both := map[string]key{"a": {1500, 1}, "b": {300, 1}}
	seconds(&often, 3, both)
	seconds(&seldom, 3, both)
	seconds(&often, 4, nil)
	seldom.Observe(4*time.Second, processors, nil)
	for name, rate := range often.rates {
		if got := seldom.rates[name]; math.Abs(got-rate) > 1e-9 {
			t.Errorf("%s: after one look %.4f, after four %.4f", name, got, rate)
		}
	}
}
