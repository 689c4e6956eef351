package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/guest"
	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// measurement is a group while it is measured: its server and its rows.
type measurement struct {
	plan   plan.Plan
	setup  Setup
	name   string
	server *Server
	rows   map[string]*row
	order  []string
	facts  []string
	stages []latency.Summary
	// silent: what is measured now does not count.
	silent bool
}

// row collects the samples of a report.Row.
type row struct {
	report.Row
	ours, bare, processor []float64
}

func (m *measurement) clock() cost.Clock { return m.setup.Usage.Processor }

func (m *measurement) now() cost.Mark { return m.clock().Now() }

func (m *measurement) since(begin cost.Mark) cost.Cost { return m.clock().Since(begin) }

// row returns the row of a name and an X, and makes it if it is new.
func (m *measurement) row(name string, x float64, xUnit string) *row {
	key := fmt.Sprint(name, x, xUnit)
	r := m.rows[key]
	if r == nil {
		r = &row{Row: report.Row{Name: name, Unit: latency.Milliseconds, X: x, XUnit: xUnit}}
		m.rows[key] = r
		m.order = append(m.order, key)
	}
	return r
}

// compare names a row of a CDF group, what it is compared with, and the most
// that it may be of it.
func (m *measurement) compare(name, bareName string, limit float64) *row {
	r := m.row(name, 0, "")
	r.BareName, r.Limit = bareName, limit
	return r
}

func (m *measurement) ours(r *row, c cost.Cost) {
	if m.silent {
		return
	}
	r.ours = append(r.ours, milliseconds(c.Wall))
	if c.Processor >= 0 {
		r.processor = append(r.processor, milliseconds(c.Processor))
	}
}

func (m *measurement) bare(r *row, d time.Duration) {
	if !m.silent {
		r.bare = append(r.bare, milliseconds(d))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (m *measurement) fact(format string, args ...any) {
	m.facts = append(m.facts, fmt.Sprintf(format, args...))
}

// result is what the rows came to.
func (m *measurement) result() []report.Row {
	out := make([]report.Row, len(m.order))
	for i, key := range m.order {
		r := m.rows[key]
		r.Ours, r.Bare = report.SeriesOf(r.ours), report.SeriesOf(r.bare)
		r.Processor = report.SeriesOf(r.processor)
		out[i] = r.Row
	}
	return out
}

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
		m.silent = i < m.plan.Warmup
		if err := errors.Join(ctx.Err(), round(i)); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		if every := max(1, n/5); (i+1)%every == 0 {
			m.setup.Progress(fmt.Sprintf("%s: round %d of %d", m.name, i+1, m.plan.Warmup+n))
		}
	}
	m.silent = false
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
