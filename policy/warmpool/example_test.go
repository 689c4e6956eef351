package warmpool_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
)

var errFull = errors.New("no capacity")

// driver stands for what restores, probes and ends machines. It has reserved
// what it launches; a launch that fails has released it.
type driver struct{ made int }

func (d *driver) launch(snapshot string, stage warmpool.Stage) (id string, err error) {
	if d.made == 3 {
		return "", errFull
	}
	d.made++
	fmt.Println("reserve, restore and probe", snapshot, "until it is", stage)
	return fmt.Sprintf("m%d", d.made), nil
}

func (d *driver) raise(id string) error { fmt.Println("start and probe", id); return nil }
func (d *driver) end(id string)         { fmt.Println("end and release", id) }

// tick is one pass of a service. A failure ends its action, never the pass.
func tick(pool *warmpool.Pool, d *driver, now time.Time, limits warmpool.Limits) {
	for _, a := range pool.Plan(now, limits) {
		f, ok := pool.Begin(a, now)
		if !ok {
			continue // It was handed out in the meantime.
		}
		id, err := f.Entry.ID, error(nil)
		switch a.Op {
		case warmpool.Launch:
			id, err = d.launch(f.Snapshot, a.Stage)
		case warmpool.Raise:
			err = d.raise(id)
		case warmpool.Retire:
			d.end(id)
		}
		switch {
		case errors.Is(err, errFull):
			f.Cancel()
		case err != nil:
			f.Fail(now)
			if id != "" {
				d.end(id)
			}
		default:
			if err := f.Done(id, now); err != nil {
				d.end(id)
			}
		}
	}
}

func ExamplePool() {
	var (
		pool warmpool.Pool
		d    driver
		now  = time.Unix(0, 0)
		key  = warmpool.Key{Template: "base"}
	)
	pool.SetSnapshot(key, "snapshot-1")
	pool.SetTarget(key, warmpool.Target{Ready: 1, Prepared: 1})
	tick(&pool, &d, now, warmpool.Unlimited)
	e, ok := pool.Checkout(key, now)
	fmt.Println("hand out", e.ID, ok)
	tick(&pool, &d, now, warmpool.Unlimited)
	pool.SetSnapshot(key, "snapshot-2")
	tick(&pool, &d, now, warmpool.Unlimited)
	// Output:
	// reserve, restore and probe snapshot-1 until it is ready
	// reserve, restore and probe snapshot-1 until it is prepared
	// hand out m1 true
	// start and probe m2
	// reserve, restore and probe snapshot-1 until it is prepared
	// end and release m2
	// end and release m3
}
