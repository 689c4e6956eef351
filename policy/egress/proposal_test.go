package egress

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestOnlyNamesAreLearned(t *testing.T) {
	all := []string{"0.0.0.0/0"}
	for _, c := range []struct {
		internet    *bool
		allow, deny []string
		want        bool
	}{
		{nil, nil, nil, false},
		{nil, []string{"1.1.1.1"}, all, false},
		{nil, []string{"*"}, all, true},
		{ptr(false), []string{"a.example", "1.1.1.1"}, nil, true},
		{ptr(false), nil, nil, false},
		{ptr(false), []string{"*", "0.0.0.0/0"}, nil, false}, // Everything is reached by its address.
		{nil, []string{"*"}, nil, false},                     // Not valid.
	} {
		if got := Learns(c.internet, sandbox.Egress{Allow: c.allow, Deny: c.deny}); got != c.want {
			t.Errorf("allow %q, deny %q: %v", c.allow, c.deny, got)
		}
	}
}

func TestRulesToLearnWithKeepAddresses(t *testing.T) {
	rules := Learning(sandbox.Egress{Allow: []string{"a.example", "2.2.2.0/24", "1.1.1.1", "not valid"}, Deny: []string{"3.3.3.3"}})
	if !slices.Equal(rules.Allow, []string{"*", "1.1.1.1", "2.2.2.0/24"}) || !slices.Equal(rules.Deny, []string{"0.0.0.0/0"}) || !Learns(nil, rules) {
		t.Errorf("%+v", rules)
	}
}

// Whatever a guest has chosen as a name, what is proposed is valid, and has hosts by their whole names only.
func TestProposals(t *testing.T) {
	rules := sandbox.Egress{Allow: []string{"*", "9.9.9.9", "8.8.8.0/24", "9.9.9.9", "*.wild.example"}, Deny: []string{"0.0.0.0/0"}}
	hosts := []string{"b.example", "a.example", "-x.example", "*", "*.evil.example", "a.example", "a b", "", "0.0.0.0/0", "1.2.3.4", "x_y.example", "--open", "a.example\n--open", "z-.example"}
	got, left, err := Propose(rules, hosts)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.example", "b.example", "x_y.example", "8.8.8.0/24", "9.9.9.9"}; !slices.Equal(got.Allow, want) {
		t.Errorf("%q, want %q", got.Allow, want)
	}
	if want := []string{"", "*", "*.evil.example", "--open", "-x.example", "0.0.0.0/0", "1.2.3.4", "a b", "a.example\n--open", "z-.example"}; !slices.Equal(left, want) {
		t.Errorf("left %q", left)
	}
	p, err := Compile(nil, got)
	if err != nil || p.All || len(p.Only) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAProposalOfTooManyIsRefused(t *testing.T) {
	var hosts, addrs []string
	for i := range MaxEntries {
		hosts, addrs = append(hosts, fmt.Sprintf("n%d.example", i)), append(addrs, fmt.Sprintf("1.1.1.%d", i))
	}
	if got, _, err := Propose(sandbox.Egress{}, hosts); err != nil || len(got.Allow) != MaxEntries {
		t.Errorf("%d, %v", len(got.Allow), err)
	}
	if _, _, err := Propose(sandbox.Egress{Allow: addrs[:1]}, hosts); !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), "257 entries") {
		t.Errorf("%v", err)
	}
}

func FuzzPropose(f *testing.F) {
	f.Add("a.example -x 1.1.1.1 * *.b")
	f.Fuzz(func(t *testing.T, text string) {
		hosts := strings.Split(text, " ")
		got, left, err := Propose(sandbox.Egress{}, hosts)
		if len(hosts) <= MaxEntries && err != nil {
			t.Fatalf("%q: %v", hosts, err)
		}
		if len(left)+len(got.Allow) > len(hosts) {
			t.Errorf("%q: %q and %q", hosts, got.Allow, left)
		}
		for _, name := range got.Allow {
			if strings.ContainsFunc(name, func(r rune) bool { return notInLabel(r) && !strings.ContainsRune(".ABCDEFGHIJKLMNOPQRSTUVWXYZ", r) }) {
				t.Errorf("%q is proposed", name)
			}
		}
	})
}
