// Package namespace makes network namespaces that are bound to files, and runs
// functions inside them. Linux only. It imports nothing of this module, and
// only package network may import it.
package namespace
