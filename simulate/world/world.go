// Package world is what the simulated daemon finds and leaves behind: the time and
// chance, the host with its machines, the templates, and the record of the run. A
// crash of the daemon leaves it as it is. It decides nothing.
//
// It may import the standard library, policy packages, simulate/timeline and
// simulate/report; simulate and simulate/daemon use it.
package world

import (
	"strconv"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/report"
	"github.com/rundlet/rundlet/simulate/timeline"
)

// Clock is the virtual time of a node.
type Clock = timeline.Timeline[Event, *Machine]

// World is all of one node but its daemon. Node and daemon share it. It is not safe for
// concurrent use, like everything in it.
type World struct {
	Clock  *Clock
	Draw   Chances
	Host   *Host
	Images Images
	Turns  Turns
	Record *report.Record
	Down   bool // the daemon crashed, and the next one has not started
	Over   bool // the traffic has ended, and what lives ends as well
}

// New returns a world in which nothing has happened. The seed decides its chances;
// the reserve is what the host has to keep for itself.
func New(seed uint64, r Reserve) *World {
	clock, draw := timeline.New[Event, *Machine](), newChances(seed)
	return &World{Clock: clock, Draw: draw, Host: newHost(clock, draw, r), Images: Images{Sick: -1}, Record: report.NewRecord(clock.Now)}
}

// Tenants ask for machines of Templates; both are numbers from zero.
const (
	Tenants   = 4
	Templates = 4
	// Pooled templates have warm entries: the base. The others are always restored.
	Pooled = 1
)

// Keys are those of the templates in the warm pool.
var Keys = func() (k [Templates]warmpool.Key) {
	for i := range k {
		k[i] = warmpool.Key{Repo: "repo", Template: "template-" + strconv.Itoa(i), Profile: "small"}
	}
	return k
}()

// Images are what the machines of each template are restored from.
type Images struct {
	Revision [Templates]int // counts the snapshots of a template
	Sick     int            // the template whose launches fail; -1 for none
}

// Snapshot names the snapshot that a template has now.
func (i *Images) Snapshot(template int) string {
	return Keys[template].Template + "@" + strconv.Itoa(i.Revision[template])
}

// Failures is the share of a template's launches that fail.
func (i *Images) Failures(template int) float64 {
	if template == i.Sick {
		return 0.5
	}
	return 0.005
}

// Turns are the places of requests in the order in which their tenant made them. They
// are to be served in that order.
type Turns struct{ arrived, served [Tenants]uint64 }

// Arrive returns the turn of a tenant's next request.
func (t *Turns) Arrive(tenant int) uint64 {
	t.arrived[tenant]++
	return t.arrived[tenant] - 1
}

// Serve notes that a turn is served. It reports whether no later one of the same
// tenant was served before.
func (t *Turns) Serve(tenant int, turn uint64) (inOrder bool) {
	inOrder = turn >= t.served[tenant]
	t.served[tenant] = turn + 1
	return inOrder
}
