// Package hostname says what a host name is, for the resolver and the gateway alike. It imports the standard library only,
// and only packages below network may import it.
package hostname

import "strings"

// The lengths of a name and of a label as text (RFC 1035, 2.3.4).
const maxName, maxLabel = 253, 63

// Canonical returns a host name in lower case and without its last dot; ok is false for an IP address in any notation, and
// for other characters than those of ASCII host names and underscores. An escape in the text form of a query's name
// has a backslash, so that a dot always separates labels.
func Canonical(host string) (name string, ok bool) {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > maxName {
		return "", false
	}
	lower := []byte(host)
	for i, c := range lower {
		switch {
		case 'A' <= c && c <= 'Z':
			lower[i] = c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return "", false
		}
	}
	host = string(lower)
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > maxLabel {
			return "", false
		}
		last = label
	}
	if number(last) {
		return "", false
	}
	return host, true
}

// Longest returns what a list has for a host: under its name, or else under the longest "*." and a name that it is below. The
// zero value is for one that has nothing.
func Longest[T any](list map[string]T, host string) (found T) {
	if found, ok := list[host]; ok {
		return found
	}
	for _, rest, ok := strings.Cut(host, "."); ok; _, rest, ok = strings.Cut(rest, ".") {
		if found, ok := list["*."+rest]; ok {
			return found
		}
	}
	return found
}

// number reports whether a last label is one of an IPv4 address, such as 127.0.0.1, 127.1 or 0x7f000001: no domain
// of the top level is a number.
func number(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
