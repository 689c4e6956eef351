package memvm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// answerTime is how long Adopt waits for a machine to answer.
const answerTime = 2 * time.Second

var errEnded = errors.New("the machine was ended under the call")

// hang blocks as Options.Hang says. A nil guest is a call that asks no machine.
func (d *Driver) hang(op, id string, g *Guest) error {
	if d.opts.Hang == nil || g == nil {
		return nil
	}
	released := d.opts.Hang(op, id)
	if released == nil {
		return nil
	}
	select {
	case <-released:
		return nil
	case <-g.done:
		return fail(op, id, nil, errEnded)
	}
}

// awaitAnswers asks the machines that Adopt took over, at once, whether they
// answer. One that does not in time is adopted all the same: it is busy with
// the question until it answers.
func (d *Driver) awaitAnswers(ctx context.Context, adopted map[string]*record) {
	const op = "adopt"
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var wg sync.WaitGroup
	for id, r := range adopted {
		wg.Go(func() {
			if r.turn.Lock(ctx, op) == nil {
				_ = r.turn.Run(ctx, 0, func() error { return d.hang(op, id, r.guest) })
			}
		})
	}
	wg.Wait()
}

// Adopt implements vm.Adopter: it takes over the guests on the host that this
// driver value does not know.
func (d *Driver) Adopt(ctx context.Context) ([]vm.View, map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fail("adopt", "", nil, err)
	}
	adopted, lost := takeOver(d)
	d.awaitAnswers(ctx, adopted)
	d.mu.RLock()
	defer d.mu.RUnlock()
	var views []vm.View
	for _, id := range sortedKeys(adopted) {
		views = append(views, d.view(id, adopted[id]))
	}
	return views, lost, nil
}

func takeOver(d *Driver) (adopted map[string]*record, lost map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	adopted, lost = map[string]*record{}, map[string]string{}
	d.host.dropUnfinished(d.records)
	for id, g := range d.host.orphans() {
		if d.records[id] != nil {
			continue
		}
		if g.ended() {
			lost[id] = g.exitReason()
			d.host.free(g)
			continue
		}
		r := &record{status: g.state(), guest: g}
		d.records[id] = r
		adopted[id] = r
	}
	return adopted, lost
}
