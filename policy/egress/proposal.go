package egress

import (
	"slices"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
)

// Learns reports whether the hosts that a sandbox with these rules reaches are seen by name. internet nil is true.
func Learns(internet *bool, rules sandbox.Egress) bool { return len(Of(internet, rules).Names) > 0 }

// Learning returns rules by which every host is reached and seen by name. Addresses that are allowed stay so, since no
// name is needed for them. Headers are not among it.
func Learning(rules sandbox.Egress) sandbox.Egress {
	return sandbox.Egress{Allow: append([]string{"*"}, addresses(rules)...), Deny: []string{ipv4.String()}}
}

// Propose returns rules for hosts that a sandbox was seen to reach, and nothing else but the addresses that its rules allow
// already: whether it needs them is not seen. left are the hosts that no rule can name. All are sorted. Headers are not among it.
// ErrInvalid if there are more than a list may have.
func Propose(rules sandbox.Egress, hosts []string) (proposed sandbox.Egress, left []string, err error) {
	proposed.Deny = []string{ipv4.String()}
	for _, host := range hosts {
		if isName(host) && !strings.HasPrefix(host, "*") {
			proposed.Allow = append(proposed.Allow, host)
		} else {
			left = append(left, host)
		}
	}
	slices.Sort(proposed.Allow)
	slices.Sort(left)
	proposed.Allow = append(slices.Compact(proposed.Allow), addresses(rules)...)
	_, err = Compile(nil, proposed)
	return proposed, left, err
}

// addresses are the entries of what is allowed that are not names, sorted.
func addresses(rules sandbox.Egress) (out []string) {
	for _, entry := range rules.Allow {
		if _, err := prefix(entry); err == nil {
			out = append(out, entry)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
