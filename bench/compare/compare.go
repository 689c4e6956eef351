// Package compare measures two builds of rundlet against each other, in turn: a life of a
// sandbox in the daemon of one, the same in that of the other, in the next round in the
// other order. What else the machine does then slows both alike, and the ratios are of
// pairs (see ratioOf). It drives the daemons by their API only, so that builds that lack an
// operation, or are older than the comparison, can be measured too. It may import client
// and bench/processor; only cmd may import it. Needs root and Linux.
package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Config says what to compare.
type Config struct {
	Base, New Build
	// StateDir and RunDir are removed at the end, with all that is in them.
	StateDir, RunDir string
	// Rounds is how many lives each build has that count; one comes before.
	Rounds int
	// Bound is the time after which no round begins; 0 means never.
	Bound time.Duration
	// Progress receives progress lines.
	Progress func(line string)
}

// Report is a comparison.
type Report struct {
	Base string `json:"base"`
	New  string `json:"new"`
	// Rounds is how many were complete.
	Rounds     int           `json:"rounds"`
	Took       time.Duration `json:"took"`
	Confidence float64       `json:"confidence"`
	Rows       []Row         `json:"rows"`
	// Facts say what could not be compared, and why.
	Facts []string `json:"facts,omitempty"`
}

// Row is one operation. Processor is the time of the daemon and of all processes of its
// sandboxes, from the request to the answer, in milliseconds like Wall; that of the client
// is not in it.
type Row struct {
	Name      string `json:"name"`
	Wall      Pair   `json:"wall"`
	Processor Pair   `json:"processor"`
}

// Pair has the figures of both builds. Those of a build that lacks the operation are nil,
// and so is the ratio.
type Pair struct {
	Base  *Figures `json:"base"`
	New   *Figures `json:"new"`
	Ratio *Ratio   `json:"ratio"`
}

// sample is what a step took in one round.
type sample struct{ wall, processor time.Duration }

// sideRounds are the samples of one build: of each complete round, by step.
type sideRounds struct {
	d      *daemon
	rounds []map[string]sample
	lacks  map[string]error // by step
}

// Run compares. When ctx ends, the report has the rounds that were complete, and the
// error says why. Daemons, sandboxes and directories are gone when it returns.
func Run(ctx context.Context, c Config) (r Report, err error) {
	if c.Rounds < 1 {
		return r, fmt.Errorf("rounds must be positive, got %d", c.Rounds)
	}
	begin := time.Now()
	sides := []*sideRounds{}
	defer func() {
		var stuck error
		for _, s := range sides {
			stuck = errors.Join(stuck, s.d.stop())
		}
		if stuck == nil { // Otherwise the directories are needed to clean up.
			stuck = errors.Join(os.RemoveAll(c.StateDir), os.RemoveAll(c.RunDir))
		}
		err = errors.Join(err, stuck)
	}()
	for _, b := range []Build{c.Base, c.New} {
		c.Progress("starting " + b.Name)
		state, run := filepath.Join(c.StateDir, b.Name), filepath.Join(c.RunDir, b.Name)
		for _, dir := range []string{state, run} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return r, err
			}
		}
		d, err := start(ctx, b, state, run)
		if err != nil {
			return r, err
		}
		sides = append(sides, &sideRounds{d: d, lacks: map[string]error{}})
	}
	complete, err := rounds(ctx, c, begin, sides)
	r = report(c, complete, sides)
	r.Took = time.Since(begin)
	return r, err
}

// rounds runs the rounds: the first one does not count.
func rounds(ctx context.Context, c Config, begin time.Time, sides []*sideRounds) (complete int, err error) {
	for i := range c.Rounds + 1 {
		if c.Bound > 0 && i > 1 && time.Since(begin) > c.Bound {
			c.Progress(fmt.Sprintf("stopped after %d rounds: the time is up", complete))
			break
		}
		order := []*sideRounds{sides[i%2], sides[1-i%2]}
		var got [2]map[string]sample
		for j, s := range order {
			if got[j], err = s.live(ctx, i == 0); err != nil {
				return complete, fmt.Errorf("round %d, %s: %w", i, s.d.build.Name, err)
			}
		}
		if i > 0 {
			order[0].rounds, order[1].rounds = append(order[0].rounds, got[0]), append(order[1].rounds, got[1])
			complete++
		}
		c.Progress(fmt.Sprintf("round %d of %d", i, c.Rounds))
	}
	return complete, nil
}

// live runs one life. In the first one operations may be missing.
func (s *sideRounds) live(ctx context.Context, first bool) (_ map[string]sample, err error) {
	l := &life{d: s.d}
	defer func() {
		if err != nil && l.sb.ID != "" {
			_ = s.d.api.Kill(context.WithoutCancel(ctx), l.sb.ID) // The daemon ends with it in any case.
		}
	}()
	got := map[string]sample{}
	var whole sample
	before, err := s.d.used()
	if err != nil {
		return nil, err
	}
	for _, st := range steps {
		if s.lacks[st.name] != nil {
			continue
		}
		took, err := s.d.measure(func() error { return st.do(ctx, l) })
		if first && unsupported(err) {
			s.lacks[st.name] = err
			continue
		}
		if err == nil && st.after != nil {
			err = st.after(ctx, l)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", st.name, err)
		}
		if s.d.machines == nil {
			s.d.findMachines()
		}
		got[st.name] = took
		whole.wall += took.wall
	}
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(rest):
	}
	after, err := s.d.used()
	whole.processor = after - before
	got[wholeLife] = whole
	return got, err
}

// measure measures one call.
func (d *daemon) measure(call func() error) (sample, error) {
	before, err := d.used()
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	if err := call(); err != nil {
		return sample{}, err
	}
	wall := time.Since(begin)
	after, err := d.used()
	return sample{wall, after - before}, err
}

// report summarises the complete rounds.
func report(c Config, complete int, sides []*sideRounds) Report {
	r := Report{Base: c.Base.Name, New: c.New.Name, Rounds: complete, Confidence: confidence}
	names := []string{}
	for _, st := range steps {
		names = append(names, st.name)
	}
	for _, name := range append(names, wholeLife) {
		wall := func(s sample) time.Duration { return s.wall }
		processor := func(s sample) time.Duration { return s.processor }
		r.Rows = append(r.Rows, Row{name, pairOf(sides, name, wall), pairOf(sides, name, processor)})
		for _, s := range sides {
			if err := s.lacks[name]; err != nil {
				r.Facts = append(r.Facts, fmt.Sprintf("%s has no %s: %v", s.d.build.Name, name, err))
			}
		}
	}
	if len(r.Facts) > 0 {
		r.Facts = append(r.Facts, wholeLife+" is that of different operations")
	}
	return r
}

func pairOf(sides []*sideRounds, name string, of func(sample) time.Duration) Pair {
	var all [2][]float64
	for i, s := range sides {
		for _, round := range s.rounds {
			if got, ok := round[name]; ok {
				all[i] = append(all[i], float64(of(got))/float64(time.Millisecond))
			}
		}
	}
	return Pair{figuresOf(all[0]), figuresOf(all[1]), ratioOf(all[0], all[1])}
}
