// Package settle makes addresses, routes, routing rules and switches of a network
// namespace what they should be, or checks that they are. Linux only.
//
// In each function mend is whether to change what is wrong or missing, and lost is how
// it was before: the same code sets up, checks and repairs. A change is made only where
// something is wrong, so that the kernel reports none otherwise.
//
// It imports no package of this module but network/namespace, and only package network
// may import it.
package settle
