// Package bundle has the hosts that well-known services need, by the name of the service, so that an allow-list can have
// "bundle:pypi" in place of them. It imports the standard library only; package egress reads it, and the command line
// prints it.
//
// A bundle limits a sandbox to a service, and not to a part of it. Where a service takes uploads at these hosts, a sandbox can
// send anything to an account there.
package bundle

import (
	"maps"
	"slices"
)

// Prefix is how an entry of an allow-list begins that stands for a bundle; the name of the bundle follows. No host name
// and no address has it.
const Prefix = "bundle:"

// Names returns the names of all bundles, in ascending order.
func Names() []string { return slices.Sorted(maps.Keys(bundles)) }

// Hosts returns the hosts of a bundle in ascending order: names in lower case, and "*." and a name for all names below it.
// It is nil for an unknown bundle. The slice is the caller's.
func Hosts(name string) []string { return slices.Clone(bundles[name]) }
