// Package ranges writes what policies say of addresses and ports as elements of sets of the packet filter, and reads it back. It knows
// guests by their addresses, and puts nothing in force; only package network may import it. Linux only.
package ranges
