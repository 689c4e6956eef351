// Package changes watches the network namespaces of the router and of the host: it
// reports when a link, an address, a route, a switch or a packet filter there has
// changed. Linux only. What the change was, and what to do, is the caller's to find out.
// It imports network/namespace and network/nft, and only package network may import it.
package changes
