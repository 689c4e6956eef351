package simulate

import (
	"strconv"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/report"
	"github.com/rundlet/rundlet/simulate/timeline"
)

// clock is the virtual time of a node.
type clock = timeline.Timeline[event, *machine]

// world is what a crash of the daemon leaves as it is. The parts of the daemon share
// it.
type world struct {
	clock  *clock
	draw   chances
	host   *host
	images images
	turns  turns
	record *report.Record
	down   bool // no daemon is there: the last one crashed
	over   bool // no more traffic, and nothing is to live on
}

// newWorld returns a world in which nothing has happened.
func newWorld(seed uint64, r reserve) *world {
	clock, draw := timeline.New[event, *machine](), newChances(seed)
	return &world{clock: clock, draw: draw, host: newHost(clock, draw, r), images: images{sick: -1}, record: report.NewRecord(clock.Now)}
}

const (
	tenants   = 4
	templates = 4
	// pooled templates have warm entries: the base. The others are always restored.
	pooled = 1
)

var keys = func() (k [templates]warmpool.Key) {
	for i := range k {
		k[i] = warmpool.Key{Repo: "repo", Template: "template-" + strconv.Itoa(i), Profile: "small"}
	}
	return k
}()

// images are what the machines of each template are restored from.
type images struct {
	revision [templates]int // counts the snapshots of a template
	sick     int            // the template whose launches fail; -1 for none
}

// snapshot names the snapshot that a template has now.
func (i *images) snapshot(template int) string {
	return keys[template].Template + "@" + strconv.Itoa(i.revision[template])
}

// failures is the share of a template's launches that fail.
func (i *images) failures(template int) float64 {
	if template == i.sick {
		return 0.5
	}
	return 0.005
}

// turns are the requests of each tenant in the order in which they came: that is the
// order in which they are to be served.
type turns struct{ arrived, served [tenants]uint64 }

// arrive returns the turn of a tenant's next request.
func (t *turns) arrive(tenant int) uint64 {
	t.arrived[tenant]++
	return t.arrived[tenant] - 1
}

// serve reports whether a turn comes before all that were served.
func (t *turns) serve(tenant int, turn uint64) (inOrder bool) {
	inOrder = turn >= t.served[tenant]
	t.served[tenant] = turn + 1
	return inOrder
}
