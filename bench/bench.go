// Package bench measures the latencies that users feel, each beside the bare
// mechanism under it, in the same run and taking turns, so that a noisy machine
// disturbs both alike. It knows the API's client and a Mechanism, no driver. It
// may import client and substrate/latency; only cmd may import it.
package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/substrate/latency"
)

// Mechanism is what a driver is made of, without the driver: the library calls
// that any program would need. Each method times one thing from just before the
// call; what it has to prepare before that does not count.
type Mechanism interface {
	// Restore restores the snapshot that create restores, until its agent has
	// answered one request.
	Restore(ctx context.Context) (Machine, time.Duration, error)
}

// Machine is a restored machine without a driver around it. The caller destroys it.
type Machine interface {
	// Exec runs the command with the mechanism's own means, until its first
	// byte of output.
	Exec(ctx context.Context, args []string) (time.Duration, error)
	// Destroy ends the machine, until nothing is left of it.
	Destroy(ctx context.Context) (time.Duration, error)
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

// Run measures rounds of: bare, driver, API. One sandbox lives at a time.
func Run(ctx context.Context, o Options, api client.API, bare Mechanism, driver Mechanism, progress func(done, of int)) ([]Row, error) {
	s := samples{}
	for i := range o.Warmup + o.Samples {
		into := s
		if i < o.Warmup {
			into = samples{}
		}
		if err := round(ctx, o, api, bare, driver, into); err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
		progress(i+1, o.Warmup+o.Samples)
	}
	return rows(s), nil
}

func round(ctx context.Context, o Options, api client.API, bare Mechanism, driver Mechanism, s samples) error {
	if err := direct(ctx, o, bare, "bare", s); err != nil {
		return fmt.Errorf("bare mechanism: %w", err)
	}
	if err := direct(ctx, Options{}, driver, "driver", s); err != nil {
		return fmt.Errorf("driver: %w", err)
	}
	if err := throughAPI(ctx, o, api, s); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

func direct(ctx context.Context, o Options, m Mechanism, who string, s samples) error {
	machine, took, err := m.Restore(ctx)
	if err != nil {
		return err
	}
	s.add(who+" restore", took)
	for i := range o.Execs {
		exec, err := machine.Exec(ctx, command)
		if err != nil {
			machine.Destroy(ctx)
			return err
		}
		if i == 0 {
			s.add(who+" restore+exec", took+exec)
		}
		s.add(who+" exec", exec)
	}
	took, err = machine.Destroy(ctx)
	if err != nil {
		return err
	}
	s.add(who+" destroy", took)
	return nil
}

func throughAPI(ctx context.Context, o Options, api client.API, s samples) error {
	begin := time.Now()
	sb, err := api.Create(ctx, "base", 10*time.Minute)
	if err != nil {
		return err
	}
	s.add("api create", time.Since(begin))
	agent := api.Agent(sb)
	for i := range o.Execs + 1 {
		start := time.Now()
		first := &firstByte{}
		code, err := agent.Run(ctx, client.Command{Args: command, Stdout: first})
		if err == nil && (code != 0 || first.at.IsZero()) {
			err = fmt.Errorf("the command printed nothing (exit code %d)", code)
		}
		if err != nil {
			api.Kill(context.WithoutCancel(ctx), sb.ID)
			return err
		}
		if i == 0 {
			s.add("api create+exec", first.at.Sub(begin))
		} else {
			s.add("api exec", first.at.Sub(start)) // the first one was not warm
		}
	}
	begin = time.Now()
	if err := api.Kill(ctx, sb.ID); err != nil {
		return err
	}
	s.add("api kill", time.Since(begin))
	return nil
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
