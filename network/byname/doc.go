// Package byname lets slots reach hosts by their names: it runs the resolver and the gateway in a namespace, and has the
// rules that send packets of slots to them. Linux only. It decides nothing: Guests know the policies.
package byname
