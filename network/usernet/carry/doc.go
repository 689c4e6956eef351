// Package carry copies between connections of gVisor's TCP/IP stack and sockets of the host, with no memory for those that
// are silent. Linux only. It imports gVisor's stack and nothing of this module; only package usernet may import it.
package carry
