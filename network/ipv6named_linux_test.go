package network

import "testing"

// The resolver alone answers queries of a slot whose names are checked, as in IPv4: a range of IPv6 in a list does not
// lead around it. Another slot may ask any server that it reaches.
func TestNamesAreNotAskedAroundTheResolverByIPv6(t *testing.T) {
	w := newWorld(t)
	w.withIPv6()
	w.serve(w.outer, 53)
	w.serve(w.outer, 5353)
	n := w.open(w.config())
	named := only(internetIP, internet6)
	named.Names = []string{"a.example"}
	for _, c := range []struct {
		name   string
		policy Policy
		asks   bool
	}{{"names", named, false}, {"ranges", only(internetIP, internet6), true}, {"everything", allow, true}} {
		guest := w.guest(w.acquire(n, c.policy))
		w.reaches6(guest, in6(internet6, "5353"))
		if c.asks {
			w.reaches6(guest, in6(internet6, "53"))
		} else {
			w.refuses6(guest, in6(internet6, "53"))
		}
	}
}
