// Package namespace makes network namespaces that are bound to files, runs functions
// inside them and opens netlink connections to them. Linux only. It imports nothing of
// this module, and only package network and those below it may import it.
package namespace
