// Package queues makes the queues of a link in which packets of slots wait, an HTB class for each, which the
// kernel serves in turn: a slot that
// floods fills its own queue and loses its own packets. All classes together
// have the bandwidth of the uplink, and one of them at most that of a slot. The
// classes are fixed and found by a hash of the slot's name, so that slots come
// and go without a change to them; two slots of 256 may share one.
//
// Packets from the internet have waited outside already: they are only bounded, for
// each slot, in the table of shares. Linux only. It imports no package of this module but
// network/namespace, and only package network may import it.
package queues
