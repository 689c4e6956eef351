package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/guest"
	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/rows"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// measurement is a group while it is measured: its server and its rows.
type measurement struct {
	rows.Table

	plan   plan.Plan
	setup  Setup
	name   string
	server *Server
	stages []latency.Summary
}

func (m *measurement) clock() cost.Clock { return m.setup.Usage.Processor }

func (m *measurement) now() cost.Mark { return m.clock().Now() }

func (m *measurement) since(begin cost.Mark) cost.Cost { return m.clock().Since(begin) }

// open begins with a server; the one before it is closed.
func (m *measurement) open(ctx context.Context, c Config) error {
	if err := m.close(); err != nil {
		return err
	}
	s, err := m.setup.Open(ctx, c)
	if err != nil {
		return err
	}
	m.server = s
	return m.filled(ctx, c)
}

func (m *measurement) close() error {
	if m.server == nil {
		return nil
	}
	s := m.server
	m.server = nil
	return s.Close()
}

// rounds runs a round so many times, after some that do not count.
func (m *measurement) rounds(ctx context.Context, n int, round func(i int) error) error {
	for i := range m.plan.Warmup + n {
		m.Silent = i < m.plan.Warmup
		if err := errors.Join(ctx.Err(), round(i)); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		if every := max(1, n/5); (i+1)%every == 0 {
			m.setup.Progress(fmt.Sprintf("%s: round %d of %d", m.name, i+1, m.plan.Warmup+n))
		}
	}
	m.Silent = false
	return nil
}

// lookInterval is how often a pool or a queue is looked at: often beside what
// they take, rarely beside what a look costs.
const lookInterval = 2 * time.Millisecond

// await waits until the server's load is as wished.
func (m *measurement) await(ctx context.Context, what string, as func(Load) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.plan.Patience, fmt.Errorf("%s: not in %s", what, m.plan.Patience))
	defer cancel()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for !as(m.server.Load()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// filled waits until the pool holds what it is to hold, and nothing is made.
func (m *measurement) filled(ctx context.Context, c Config) error {
	return m.await(ctx, "the pool is full", func(l Load) bool {
		return l.Ready >= c.Warm && l.Prepared >= c.Prepared && l.Busy == 0
	})
}

// sandboxTimeout ends a sandbox that was forgotten.
const sandboxTimeout = time.Hour

func (m *measurement) create(ctx context.Context) (client.Sandbox, error) {
	return m.server.API.Create(ctx, "base", sandboxTimeout)
}

// kill ends a sandbox, also when ctx has ended, and adds an error to err.
func (m *measurement) kill(ctx context.Context, id string, err *error) {
	*err = errors.Join(*err, m.server.API.Kill(context.WithoutCancel(ctx), id))
}

// end destroys a machine, and adds an error to err.
func end(ctx context.Context, machine Machine, err *error) {
	_, failed := machine.Destroy(context.WithoutCancel(ctx))
	*err = errors.Join(*err, failed)
}

// run runs a command in a sandbox through the API, to its end.
func (m *measurement) run(ctx context.Context, sb client.Sandbox, stdin []byte, args ...string) (guest.Times, error) {
	return guest.Run(ctx, m.server.API.Agent(sb), m.clock(), stdin, args...)
}

// echo runs the command that prints something.
func (m *measurement) echo(ctx context.Context, sb client.Sandbox) (guest.Times, error) {
	return guest.Echo(ctx, m.server.API.Agent(sb), m.clock())
}
