// Package limits divides the daemon's file descriptors between its clients and
// its own work, and decides when a bounded resource of the host is short. It is
// pure policy: no I/O, no clock. It imports nothing of this module.
package limits

// Split is how many descriptors each use of them may take. What is left is the
// daemon's own: for its files, and some for each sandbox.
type Split struct {
	// Clients are connections of clients, Streams those into sandboxes.
	Clients, Streams int
}

// mostClients bounds what idle connections cost in memory, some 20 KiB each.
const mostClients = 16384

// Divide returns the split of a limit on descriptors: three eighths for
// clients, a quarter for streams, the rest, three eighths, for the daemon.
func Divide(descriptors int64) Split {
	clients := int(min(max(descriptors*3/8, 1), mostClients))
	return Split{Clients: clients, Streams: int(min(max(descriptors/4, 1), mostClients))}
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
