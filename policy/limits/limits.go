// Package limits divides the daemon's file descriptors between its clients and
// its own work, and decides when a bounded resource of the host is short. It is
// pure policy: no I/O, no clock. It imports nothing of this module.
package limits

// Split is how many descriptors each use of them may take. What is left is the
// daemon's own: for its files, and some for each sandbox.
type Split struct {
	// Clients are connections of clients, Streams those into sandboxes.
	Clients, Streams int
	// Named are connections of sandboxes by name, of three descriptors each.
	Named int
}

// mostClients bounds what idle connections cost in memory, some 20 KiB each, and mostNamed
// the same of connections by name, some 50 KiB each.
const mostClients, mostNamed = 16384, 4096

// Divide returns the split of a limit on descriptors: five sixteenths for
// clients, a quarter for streams, a sixteenth for connections by name, the rest, three eighths, for the daemon.
func Divide(descriptors int64) Split {
	part := func(of, most int64) int { return int(min(max(of, 1), most)) }
	return Split{
		Clients: part(descriptors*5/16, mostClients), Streams: part(descriptors/4, mostClients),
		Named: part(descriptors/16/3, mostNamed),
	}
}

// Level is how much of a bounded resource is in use.
type Level struct {
	What      string
	Used, Max int64
}

// Short returns what is nearly used up: less than an eighth is left of it. A
// resource without a bound, Max 0 or less, never is.
func Short(levels []Level) []Level {
	var out []Level
	for _, l := range levels {
		if l.Max > 0 && l.Max-l.Used < l.Max/8 {
			out = append(out, l)
		}
	}
	return out
}
