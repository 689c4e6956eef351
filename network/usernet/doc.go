// Package usernet is the way from a network namespace to the internet without root. The namespace belongs to a user
// namespace, so no link of it can lead to the host. Two processes share the work:
//
//	in the namespace (Link)                      in the host's namespace (Serve), without privileges
//	usernet0 .2 ══ usernet1, a packet socket ──→ TCP/IP stack in user space, gateway .1 ──→ sockets of the host
//
// Serve accepts each connection, datagram and echo request that leaves usernet0, and passes it on by another socket.
// The name server .3 passes queries to the host's resolvers. The host itself cannot be reached by any of its addresses.
//
// IPv4 only: frames of other protocols are dropped. All guests have the address of usernet0 when their packets arrive
// here, so guests cannot be distinguished: bounds are for all of them together, and their shares have to be
// enforced before. It imports gVisor's TCP/IP stack and the packages below; package network does not import it.
package usernet
