// Package bench measures the latencies that users feel, each beside the bare
// mechanism under it, in the same run and taking turns, so that a noisy machine
// disturbs both alike. It knows the API's client and no driver. It
// may import client and substrate/latency; only cmd may import it.
package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/substrate/latency"
)

// Restorer restores the snapshot that create restores, by one way or another.
type Restorer interface {
	// Restore returns when the agent has answered one request, and the time
	// since just before the first call. What it has to prepare on disk and in
	// the network before that does not count.
	Restore(ctx context.Context) (Machine, time.Duration, error)
}

// Machine is a restored machine. The caller destroys it.
type Machine interface {
	// Destroy ends the machine and returns how long the calls took.
	Destroy(ctx context.Context) (time.Duration, error)
}

// Setup is what is measured.
type Setup struct {
	// API is the server, with the sandboxes that users get.
	API client.API
	// Bare are the library calls that any program would need; Driver is the
	// driver, without a server.
	Bare, Driver Restorer
	// BareExec runs a command in a sandbox of API by the mechanism's own means,
	// and returns the time to its first byte of output.
	BareExec func(ctx context.Context, sandbox string, args []string) (time.Duration, error)
}

// Options say what to measure.
type Options struct {
	// Samples of each row.
	Samples int
	// Warmup rounds come first and do not count.
	Warmup int
	// Execs is how many commands are run in each round's sandbox.
	Execs int
}

// DefaultOptions give p50 and p90 that can be decided upon (30 samples).
var DefaultOptions = Options{Samples: 30, Warmup: 2, Execs: 3}

// The command whose first byte of output is awaited.
var command = []string{"/bin/echo", "hello"}

// samples are the raw measurements by row.
type samples map[string][]time.Duration

func (s samples) add(name string, d time.Duration) { s[name] = append(s[name], d) }

// Run measures rounds of: bare, driver, API. One machine lives at a time.
func Run(ctx context.Context, o Options, setup Setup, progress func(done, of int)) ([]Row, error) {
	s := samples{}
	for i := range o.Warmup + o.Samples {
		into := s
		if i < o.Warmup {
			into = samples{}
		}
		if err := round(ctx, o, setup, into); err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		progress(i+1, o.Warmup+o.Samples)
	}
	return rows(s), nil
}

func round(ctx context.Context, o Options, setup Setup, s samples) error {
	bare, err := restore(ctx, setup.Bare, "bare", s)
	if err != nil {
		return fmt.Errorf("bare mechanism: %w", err)
	}
	if _, err := restore(ctx, setup.Driver, "driver", s); err != nil {
		return fmt.Errorf("driver: %w", err)
	}
	begin := time.Now()
	sb, err := setup.API.Create(ctx, "base", 10*time.Minute)
	if err != nil {
		return err
	}
	s.add("api create", time.Since(begin))
	if err := execs(ctx, o, setup, sb, begin, bare, s); err != nil {
		setup.API.Kill(context.WithoutCancel(ctx), sb.ID)
		return fmt.Errorf("sandbox %s: %w", sb.ID, err)
	}
	begin = time.Now()
	if err := setup.API.Kill(ctx, sb.ID); err != nil {
		return err
	}
	s.add("api kill", time.Since(begin))
	return nil
}

func restore(ctx context.Context, r Restorer, who string, s samples) (time.Duration, error) {
	machine, took, err := r.Restore(ctx)
	if err != nil {
		return 0, err
	}
	s.add(who+" restore", took)
	destroy, err := machine.Destroy(ctx)
	if err != nil {
		return 0, err
	}
	s.add(who+" destroy", destroy)
	return took, nil
}

// execs runs the command in a sandbox that is new (created at begin), first
// through the API, then both ways in turn.
func execs(ctx context.Context, o Options, setup Setup, sb client.Sandbox, begin time.Time, bareRestore time.Duration, s samples) error {
	first, err := apiExec(ctx, setup.API, sb)
	if err != nil {
		return err
	}
	s.add("api create+exec", first.Sub(begin))
	for i := range o.Execs {
		bare, err := setup.BareExec(ctx, sb.ID, command)
		if err != nil {
			return err
		}
		if i == 0 {
			s.add("bare restore+exec", bareRestore+bare)
		}
		s.add("bare exec", bare)
		start := time.Now()
		at, err := apiExec(ctx, setup.API, sb)
		if err != nil {
			return err
		}
		s.add("api exec", at.Sub(start))
	}
	return nil
}

// apiExec returns when the command's first byte of output arrived.
func apiExec(ctx context.Context, api client.API, sb client.Sandbox) (time.Time, error) {
	var first firstByte
	code, err := api.Agent(sb).Run(ctx, client.Command{Args: command, Stdout: &first})
	if err == nil && (code != 0 || first.at.IsZero()) {
		err = fmt.Errorf("the command printed nothing (exit code %d)", code)
	}
	return first.at, err
}

// firstByte remembers when the first byte was written.
type firstByte struct{ at time.Time }

func (f *firstByte) Write(b []byte) (int, error) {
	if f.at.IsZero() && len(b) > 0 {
		f.at = time.Now()
	}
	return len(b), nil
}

// Row is one latency beside its bare mechanism.
type Row struct {
	Name string          `json:"name"`
	Ours latency.Summary `json:"ours"`
	// BareName says what the mechanism did.
	BareName string          `json:"bare_name"`
	Bare     latency.Summary `json:"bare"`
	// Ratio is ours to bare, of the medians.
	Ratio float64 `json:"ratio"`
	// Limit is the most that the ratio may be; 0 is no limit.
	Limit float64 `json:"limit,omitempty"`
	// Met reports whether Ratio is within Limit.
	Met bool `json:"met"`
}

func rows(s samples) []Row {
	var out []Row
	for _, r := range []struct {
		name, ours, bareName, bare string
		limit                      float64
	}{
		{"restore (driver call to agent's reply)", "driver restore", "restore by library", "bare restore", 0},
		{"create to ready (REST)", "api create", "restore by library", "bare restore", 1.25},
		{"create to first stdout (REST)", "api create+exec", "restore + runsc exec", "bare restore+exec", 0},
		{"warm exec to first stdout (API)", "api exec", "runsc exec", "bare exec", 0.6},
		{"kill (REST)", "api kill", "destroy by library", "bare destroy", 0},
	} {
		row := Row{Name: r.name, Ours: latency.Summarise(s[r.ours]), BareName: r.bareName, Bare: latency.Summarise(s[r.bare]), Limit: r.limit}
		if row.Bare.P50 > 0 {
			row.Ratio = float64(row.Ours.P50) / float64(row.Bare.P50)
		}
		row.Met = row.Limit == 0 || row.Ratio > 0 && row.Ratio <= row.Limit
		out = append(out, row)
	}
	return out
}
