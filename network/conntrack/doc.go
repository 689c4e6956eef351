// Package conntrack counts, lists and deletes the IPv4 flows that the kernel tracks
// in a network namespace. Linux only. It imports no package of this module but
// network/namespace, and only package network may import it.
package conntrack
