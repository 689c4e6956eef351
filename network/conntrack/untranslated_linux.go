package conntrack

import (
	"net/netip"
	"os"
)

// DeleteUntranslated deletes flows of a namespace from inside to outside whose answers would come from outside, and go to
// an address inside. from is as in Table.Dump.
func DeleteUntranslated(ns *os.File, from map[netip.Addr]bool, inside func(netip.Addr) bool) error {
	table, err := Open(ns)
	if err != nil {
		return err
	}
	defer table.Close()
	var stuck []Tuple
	err = table.Dump(from, func(orig, reply Tuple) {
		in := func(a [4]byte) bool { return inside(netip.AddrFrom4(a)) }
		if in(orig.Src) && !in(orig.Dst) && !in(reply.Src) && in(reply.Dst) {
			stuck = append(stuck, orig)
		}
	})
	if err != nil {
		return err
	}
	return table.Delete(stuck)
}
