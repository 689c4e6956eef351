// Package namespace makes network namespaces that are bound to files, runs functions
// inside them and opens netlink connections to them. Linux only. It may import
// internal/netns, and only package network and those below it may import it.
package namespace
