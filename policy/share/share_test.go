package share

import (
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
		"nobody":                        {nil, nil},
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

// Each round has the outcome of the kernel: those that go first get what they want, and
// the others divide the rest. A key gets what it wants, or most of its fair share.
func TestEachKeyGetsItsFairShareOverTime(t *testing.T) {
	const rounds = 600
	for title, want := range map[string]map[string]float64{
		"two that want all":             {"a": 2, "b": 2},
		"one begins small":              {"a": 2, "b": 0.3},
		"three that want all":           {"a": 2, "b": 2, "c": 2},
		"one small among two large":     {"a": 2, "b": 2, "c": 0.2},
		"many small":                    {"a": 2, "b": 0.3, "c": 0.3, "d": 0.3, "e": 0.3},
		"more small than there is room": {"a": 2, "b": 0.6, "c": 0.6, "d": 0.6, "e": 0.6},
	} {
		parts := map[string]int{"a": 1, "b": 1, "c": 4, "d": 1, "e": 16}
		var u Use
		got, yield := map[string]float64{}, map[string]bool{}
		for range rounds {
			now := divide(want, yield)
			used := map[string]Used{}
			for name, rate := range now {
				got[name] += rate / rounds
				used[name] = Used{Time: time.Duration(rate * float64(time.Second)), Parts: parts[name]}
			}
			yield = u.Observe(time.Second, processors, used)
		}
		for name, rate := range want {
			if least := 0.7 * math.Min(rate, processors/float64(len(want))); got[name] < least {
				t.Errorf("%s: %s got %.2f processors, want %.2f at least (%v)", title, name, got[name], least, got)
			}
		}
	}
}

// divide is what the kernel gives: to those that do not yield first, in equal parts.
func divide(want map[string]float64, yield map[string]bool) map[string]float64 {
	got, free := map[string]float64{}, float64(processors)
	for _, second := range []bool{false, true} {
		left := map[string]float64{}
		for name, rate := range want {
			if yield[name] == second {
				left[name] = rate
			}
		}
		for _, name := range slices.SortedFunc(maps.Keys(left), func(a, b string) int { return int(1000 * (left[a] - left[b])) }) {
			got[name] = math.Min(left[name], free/float64(len(left)))
			free -= got[name]
			delete(left, name)
		}
	}
	return got
}

func TestAKeyThatIsGoneIsForgottenAfterSomeSeconds(t *testing.T) {
	var u Use
	both := map[string]key{"a": {1500, 4}, "b": {300, 1}}
	seconds(&u, 3, both)
	if got := seconds(&u, 2, map[string]key{"a": {1500, 4}}); !slices.Equal(got, []string{"a"}) || u.Alone() {
		t.Errorf("%q yield to a key between two machines", got)
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
