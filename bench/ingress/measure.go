package ingress

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
	"github.com/rundlet/rundlet/bench/objectives"
	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/bench/rows"
)

// Measurement compares ways to a port of a sandbox. Its fields are set before use.
type Measurement struct {
	Rows  *rows.Table
	Clock cost.Clock
	Plan  plan.Plan
	// Rounds runs a round so many times.
	Rounds func(ctx context.Context, n int, round func(i int) error) error
	// Through is compared with the others.
	Through, Direct, Plain *Way
}

// atOnce is how many clients send requests at the same time.
const atOnce = 16

// The names of what is compared.
const (
	direct = "dialed by the daemon"
	plain  = "Go's reverse proxy"
)

// Run adds the rows of a download, of one request, and of many.
func (m Measurement) Run(ctx context.Context) error {
	size := int64(m.Plan.DownloadMiB) << 20
	download := m.Rows.Row(objectives.Download, float64(m.Plan.DownloadMiB), "MiB")
	download.BareName, download.Limit = direct, objectives.DownloadRatio
	err := m.turns(ctx, 3*m.Plan.Dear, download, m.Direct, func(w *Way) (time.Duration, error) { return w.Download(ctx, size) })
	if err != nil {
		return err
	}
	m.Rows.Fact("download: %.0f MB/s, %s %.0f MB/s (medians)", perSecond(float64(size)/1e6, download.Mine), direct, perSecond(float64(size)/1e6, download.Other))

	ask := func(w *Way) (time.Duration, error) { return w.Ask(ctx) }
	if err := m.turns(ctx, 10*m.Plan.Samples, m.Rows.Compare(objectives.SmallRequest, direct, 0), m.Direct, ask); err != nil {
		return err
	}
	if err := m.turns(ctx, 10*m.Plan.Samples, m.Rows.Compare(objectives.SmallRequest+", beside another proxy", plain, 0), m.Plain, ask); err != nil {
		return err
	}

	n := m.Plan.Requests
	many := m.Rows.Row(objectives.ManyRequests, float64(n), "requests")
	many.BareName, many.Limit = plain, objectives.ManyRatio
	if err := m.turns(ctx, 3*m.Plan.Dear, many, m.Plain, func(w *Way) (time.Duration, error) { return w.Load(ctx, n, atOnce) }); err != nil {
		return err
	}
	m.Rows.Fact("requests of %d clients: %.0f/s, %s %.0f/s (medians)", atOnce, perSecond(float64(n), many.Mine), plain, perSecond(float64(n), many.Other))
	return nil
}

// turns goes one way and the other in each round; which of the two is first changes.
func (m Measurement) turns(ctx context.Context, n int, r *rows.Row, bare *Way, measure func(*Way) (time.Duration, error)) error {
	return m.Rounds(ctx, n, func(i int) error {
		for turn := range 2 {
			if (i+turn)%2 == 1 {
				took, err := measure(bare)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", r.Name, r.BareName, err)
				}
				m.Rows.Bare(r, took)
				continue
			}
			begin := m.Clock.Now()
			took, err := measure(m.Through)
			if err != nil {
				return fmt.Errorf("%s: %w", r.Name, err)
			}
			m.Rows.Ours(r, cost.Cost{Wall: took, Processor: m.Clock.Since(begin).Processor})
		}
		return nil
	})
}

// perSecond is how many of n there are in a second, by the median of milliseconds.
func perSecond(n float64, ms []float64) float64 { return n / report.SeriesOf(ms).P50 * 1e3 }
