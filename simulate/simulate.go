// Package simulate runs the decisions of a daemon against a simulated machine with
// a virtual clock: a day of bursty traffic, pressure, failures and crashes in well
// under a second.
//
// The configuration is that of a daemon without flags, and what decides is the
// daemon's own code: the ledger and the queue, the warm pool, the policy for a host
// under pressure, the disk floors and the recovery after a crash. As in the daemon,
// new work is held back by nothing but the capacity, the floors and the refusals of
// package pressure. Machines, tenants and the host are made up, and the steps in
// between are a copy of what package runtime does. After every event the invariants
// are checked, and the same seed gives the same run.
//
// A node is a simulate/world and the simulate/daemon on it, which a crash replaces.
// This package has what happens to both: the traffic of a scenario, mishaps and
// crashes, pressure, and the checks.
//
// It may import the standard library, policy packages and the packages below it; the
// CLI uses it. Nothing of it runs in the daemon.
package simulate

import (
	"fmt"
	"sync"
	"time"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/daemon"
	"github.com/rundlet/rundlet/simulate/report"
)

// Config says what to run.
type Config struct {
	// Scenario is one of Scenarios; the zero value is an idle node.
	Scenario Scenario
	// Duration is how long traffic goes on. All of it then has to end.
	Duration time.Duration
	// Warm is what is kept warm of the base; the zero value is what a daemon keeps
	// that was given no flags.
	Warm warmpool.Target
	// Seed decides everything that is random.
	Seed uint64
}

// Run simulates one node. It is deterministic: equal configurations give equal
// reports, on every machine with the same floating point.
func Run(cfg Config) report.Report { return run(cfg, daemon.Default()) }

func run(cfg Config, p daemon.Policy) report.Report {
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
func Fleet(cfg Config, nodes, parallel int) report.Report {
	reports := make([]report.Report, nodes)
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
	return report.Sum(reports)
}
