// Package simulate runs the policies of a node against a simulated machine with
// a virtual clock: a day of bursty traffic, pressure, failures and crashes in
// well under a second. The ledger, the queue, the warm pool and the autoscale
// policy are the real ones; machines, tenants and the host are made up. After
// every event the invariants are checked, and the same seed gives the same run.
//
// It may import the standard library and policy packages; the CLI uses it.
// Nothing of it runs in the daemon.
package simulate

import (
	"fmt"
	"sync"
	"time"
)

// Config says what to run.
type Config struct {
	// Scenario is one of Scenarios; the zero value is an idle node.
	Scenario Scenario
	// Duration is how long traffic goes on. All of it then has to end.
	Duration time.Duration
	// Seed decides everything that is random.
	Seed uint64
}

// Run simulates one node. It is deterministic: equal configurations give equal
// reports, on every machine with the same floating point.
func Run(cfg Config) Report { return run(cfg, policies()) }

func run(cfg Config, p policy) Report {
	n := newNode(cfg, p)
	n.start()
	for n.next() {
		n.check()
	}
	n.checkLeftover()
	return n.report()
}

// Fleet simulates nodes that know nothing of each other, with the seeds
// cfg.Seed, cfg.Seed+1 and so on, up to parallel of them at a time, and adds the
// reports up. The result does not depend on parallel.
func Fleet(cfg Config, nodes, parallel int) Report {
	reports := make([]Report, nodes)
	var wg sync.WaitGroup
	for worker := range parallel {
		wg.Go(func() {
			for i := worker; i < nodes; i += parallel {
				c := cfg
				c.Seed += uint64(i)
				reports[i] = Run(c)
				for j := range reports[i].Broken {
					reports[i].Broken[j] = fmt.Sprintf("seed %d: %s", c.Seed, reports[i].Broken[j])
				}
			}
		})
	}
	wg.Wait()
	return sum(reports)
}
