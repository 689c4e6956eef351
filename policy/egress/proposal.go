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
	return sandbox.Egress{Allow: append([]string{"*"}, Addresses(rules)...), Deny: []string{ipv4.String()}}
}

// Propose returns rules for hosts that a sandbox was seen to reach, and nothing else but the addresses that its rules allow
// already: whether it needs them is not seen. left are the hosts that no rule can name. All are sorted. Headers are not among it.
// ErrInvalid if there are more than a list may have.
func Propose(rules sandbox.Egress, hosts []string) (proposed sandbox.Egress, left []string, err error) {
	proposed.Deny = []string{ipv4.String()}
	names := Of(new(false), rules).Names
	for _, host := range hosts {
		if isName(host) && !strings.HasPrefix(host, "*") {
			proposed.Allow = append(proposed.Allow, onPorts(names, host)...)
		} else {
			left = append(left, host)
		}
	}
	slices.Sort(proposed.Allow)
	slices.Sort(left)
	proposed.Allow = append(slices.Compact(proposed.Allow), Addresses(rules)...)
	_, err = Compile(nil, proposed)
	return proposed, left, err
}

// onPorts are the entries for a host: with the ports that names allow it on, if they allow it on some alone.
func onPorts(names []string, host string) (out []string) {
	for _, name := range names {
		pattern, port, limited := strings.Cut(name, ":")
		below, wild := strings.CutPrefix(pattern, "*")
		switch {
		case pattern != host && (!wild || !strings.HasSuffix(host, below)):
		case !limited:
			return []string{host}
		default:
			out = append(out, host+":"+port)
		}
	}
	if len(out) == 0 { // It was reached by other rules.
		out = append(out, host)
	}
	return out
}

// Addresses are the entries of what is allowed that are not names, sorted.
func Addresses(rules sandbox.Egress) (out []string) {
	for _, text := range rules.Allow {
		if _, name, err := parseEntry(text); err == nil && name == "" {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
