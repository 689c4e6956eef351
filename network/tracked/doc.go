// Package tracked deletes the flows that the kernel tracks for guests, in the router's namespace and in the one where all
// guests have one address. Linux only. It decides nothing: the caller says which flows.
package tracked
