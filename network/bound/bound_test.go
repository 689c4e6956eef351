package bound

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1000, 0)

func addr(n int) netip.AddrPort { return on(n, 0) }

func on(n int, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 0, byte(n >> 8), byte(n)}), port)
}

func TestAnAddressIsInForceUntilItExpires(t *testing.T) {
	var a Addresses
	if list, next := a.At(start); list != nil || !next.IsZero() || a.Has(addr(1)) {
		t.Fatal("an empty one has addresses")
	}
	a.Add("a.example", []netip.AddrPort{addr(2), addr(1)}, start.Add(time.Minute))
	a.Add("b.example", []netip.AddrPort{addr(2)}, start.Add(time.Hour))
	a.Add("b.example", []netip.AddrPort{addr(2)}, start.Add(time.Minute))
	a.Add("c.example", []netip.AddrPort{addr(2)}, start.Add(time.Second)) // A shorter time takes nothing.
	for _, c := range []struct {
		after, next time.Duration
		want        string
	}{
		{0, time.Minute, "[{9.0.0.1:0 a.example} {9.0.0.2:0 a.example b.example c.example}]"},
		{time.Minute, time.Hour, "[{9.0.0.2:0 a.example b.example c.example}]"},
		{time.Hour, 0, "[]"},
	} {
		list, next := a.At(start.Add(c.after))
		if fmt.Sprint(list) != c.want || next.IsZero() != (c.next == 0) || c.next > 0 && !next.Equal(start.Add(c.next)) {
			t.Errorf("after %v: %v until %v", c.after, list, next)
		}
	}
	if !a.Has(addr(1)) || !a.Has(addr(2)) {
		t.Error("what has expired is forgotten")
	}
	var b Addresses
	had, _ := a.At(start)
	b.Restore(had, start.Add(time.Hour))
	if list, _ := b.At(start); !slices.Equal(list, had) {
		t.Errorf("restored: %v", list)
	}
}

func TestACommentHasTheLastNames(t *testing.T) {
	long := strings.Repeat("a", 150)
	for names, want := range map[string]string{
		"": "", "a.example b.example": "a.example b.example", "a.example " + long + " b.example": "a.example " + long + " b.example",
		long + " b.example " + long: "b.example " + long, long + long: "",
	} {
		if got := (Address{Names: names}).Comment(); got != want {
			t.Errorf("of %q: %q", names, got)
		}
	}
}

func TestManyExpireTogether(t *testing.T) {
	var a Addresses
	for i := range 300 {
		a.Add("a.example", []netip.AddrPort{addr(i)}, start.Add(time.Duration(i+1)*10*time.Millisecond))
	}
	times := 0
	for list, next := a.At(start); !next.IsZero(); list, next = a.At(next) {
		if times++; len(list) != 400-100*times {
			t.Errorf("%d are in force before %v", len(list), next)
		}
	}
	if times != 3 {
		t.Errorf("they expire at %d times", times)
	}
}

func TestDiffer(t *testing.T) {
	list := func(names ...string) (out []Address) {
		for i, name := range names {
			if name != "" {
				out = append(out, Address{addr(i), name})
			}
		}
		return out
	}
	for _, c := range []struct{ a, b, onlyA, onlyB []Address }{
		{nil, nil, nil, nil},
		{list("a", "b"), list("a", "b"), nil, nil},
		{list("a", "b"), nil, list("a", "b"), nil},
		{nil, list("a"), nil, list("a")},
		{list("a", "b", "", "d"), list("", "b", "c", "e"), list("a", "", "", "d"), list("", "", "c", "e")},
		{list("", "", "c"), list("a", "b"), list("", "", "c"), list("a", "b")},
	} {
		if a, b := Differ(c.a, c.b); !slices.Equal(a, c.onlyA) || !slices.Equal(b, c.onlyB) {
			t.Errorf("%v and %v: %v, %v", c.a, c.b, a, b)
		}
	}
}

func TestKeepForgetsOtherNames(t *testing.T) {
	var a Addresses
	a.Add("a.example", []netip.AddrPort{addr(1), addr(2)}, start.Add(time.Minute))
	a.Add("b.example", []netip.AddrPort{addr(2), addr(3)}, start.Add(time.Minute))
	a.Add("", []netip.AddrPort{addr(4)}, start.Add(time.Minute))
	a.Keep(func(name string) []uint16 {
		if name == "a.example" {
			return []uint16{0}
		}
		return nil
	})
	for n, want := range map[int]bool{1: false, 2: false, 3: true, 4: true, 5: false} {
		if a.Forgot(addr(n)) != want || a.Has(addr(n)) != (n < 3) {
			t.Errorf("%v: forgotten is %v, remembered is %v", addr(n), a.Forgot(addr(n)), a.Has(addr(n)))
		}
	}
	if list, _ := a.At(start); fmt.Sprint(list) != "[{9.0.0.1:0 a.example} {9.0.0.2:0 a.example}]" {
		t.Error(list)
	}
	a.Keep(func(string) []uint16 { return nil })
	if list, next := a.At(start); len(list) > 0 || !next.IsZero() || a.Has(addr(1)) || a.Has(addr(2)) {
		t.Error("something is left")
	}
	a.Add("b.example", []netip.AddrPort{addr(1)}, start.Add(time.Minute))
	if list, _ := a.At(start); fmt.Sprint(list) != "[{9.0.0.1:0 b.example}]" || a.Forgot(addr(1)) || !a.Forgot(addr(2)) {
		t.Error(list)
	}
}

func TestAddressesAndNamesAreBounded(t *testing.T) {
	var a Addresses
	for i := range 2 * Most {
		a.Add("a.example", []netip.AddrPort{addr(i)}, start.Add(time.Duration(i+1)*time.Second))
	}
	list, _ := a.At(start)
	if len(list) != Most || a.Has(addr(0)) || a.Forgot(addr(0)) || a.Has(addr(Most-1)) || !a.Has(addr(Most)) || !a.Has(addr(2*Most-1)) {
		t.Errorf("%d addresses, or not the newest", len(list))
	}
	for i := range 2 * mostNames {
		a.Add(fmt.Sprint(i), []netip.AddrPort{addr(2*Most - 1)}, start)
	}
	if names := a.byAddr[addr(2*Most-1)].names; len(names) != mostNames || names[mostNames-1] != "31" {
		t.Error(names)
	}
}

// A name that is reached on some ports only keeps those, and gets none that it had not.
func TestKeepNarrowsToPorts(t *testing.T) {
	var a Addresses
	a.Add("a.example", []netip.AddrPort{addr(1)}, start.Add(time.Minute))
	a.Add("b.example", []netip.AddrPort{addr(1)}, start.Add(time.Minute))
	a.Add("a.example", []netip.AddrPort{on(2, 22), on(2, 443)}, start.Add(time.Minute))
	a.Keep(func(name string) []uint16 {
		return map[string][]uint16{"a.example": {443, 8443}, "b.example": {0}}[name]
	})
	if list, _ := a.At(start); fmt.Sprint(list) != "[{9.0.0.1:0 b.example} {9.0.0.1:443 a.example} {9.0.0.1:8443 a.example} {9.0.0.2:443 a.example}]" {
		t.Error(list)
	}
	a.Keep(func(name string) []uint16 { return map[string][]uint16{"a.example": {443, 8443}}[name] })
	for to, want := range map[netip.AddrPort]bool{addr(1): false, on(1, 443): true, on(1, 8443): true, on(1, 22): false, on(2, 443): true, on(2, 8443): false} {
		if a.Has(to) != want {
			t.Errorf("%v: remembered is %v", to, !want)
		}
	}
	if !a.Forgot(on(1, 22)) || !a.Forgot(on(2, 22)) || a.Forgot(on(1, 443)) || a.Forgot(on(2, 8443)) {
		t.Error("forgotten is something else than what had names")
	}
	a.Keep(func(string) []uint16 { return []uint16{0} })
	if a.Has(addr(1)) || !a.Has(on(1, 443)) {
		t.Error("a port that is reached has become all ports")
	}
}

func TestNamesOf(t *testing.T) {
	list := []Address{{addr(1), "a.example"}, {addr(2), "b.example c.example"}, {on(2, 443), "d.example"}, {on(4, 443), "e.example"}}
	for to, want := range map[netip.AddrPort]string{
		on(1, 22): "[a.example]", on(2, 22): "[b.example c.example]", on(2, 443): "[b.example c.example d.example]", on(3, 443): "[]", on(4, 443): "[e.example]", on(4, 22): "[]",
	} {
		if got := NamesOf(list, to); fmt.Sprint(got) != want {
			t.Errorf("%v: %v, want %s", to, got, want)
		}
	}
}
