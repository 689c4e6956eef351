package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// firstMoments is how long after its requests the daemon is killed at most.
const firstMoments = 50 * time.Millisecond

// firstOps are the operations in whose first moments the daemon is killed, all
// at once, each on a separate sandbox.
var firstOps = []struct {
	name string
	// paused is what its sandbox is brought to before.
	paused bool
	do     func(ctx context.Context, api client.API, id string)
}{
	{"pause", false, func(ctx context.Context, api client.API, id string) { api.Pause(ctx, id, true) }},
	{"resume", true, func(ctx context.Context, api client.API, id string) { api.Connect(ctx, id, live) }},
	{"fork", false, func(ctx context.Context, api client.API, id string) { api.Fork(ctx, id, 1, live) }},
	{"snapshot", false, func(ctx context.Context, api client.API, id string) { api.Snapshot(ctx, id, "") }},
}

// firstRound is the server of this test, its sandboxes and what became of them.
type firstRound struct {
	*node
	subjects []*counter // By operation.
	givenUp  map[string]bool
	count    map[string]int
}

// TestADaemonKilledInTheFirstMomentsOfAnOperationLosesAndFreezesNothing kills the
// daemon inside the driver's calls, where there is no step: at any time of the
// first 50 ms of a pause, a resume, a fork and a snapshot on a busy machine.
func TestADaemonKilledInTheFirstMomentsOfAnOperationLosesAndFreezesNothing(t *testing.T) {
	rounds := 5
	if *soak {
		rounds = 200
	}
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d: the same moments again with -seed=%d", s, s)
	rng := rand.New(rand.NewPCG(s, 50))
	r := &firstRound{node: newNode(t), subjects: make([]*counter, len(firstOps)), givenUp: map[string]bool{}, count: map[string]int{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.srv.logTail())
		}
	})
	keepBusy(t, 2)
	begin := time.Now()
	for i := range rounds {
		r.prepare(t)
		after := time.Duration(rng.Int64N(int64(firstMoments)))
		r.killAfter(t, after)
		for op := range firstOps {
			if err := r.check(t.Context(), op); err != nil {
				t.Errorf("round %d, killed after %v: %s: %v", i, after, firstOps[op].name, err)
				r.givenUp[r.subjects[op].sb.ID] = true
				r.subjects[op] = nil // Another takes its place.
			}
		}
		r.clear(t)
		r.checkConsistent(t)
		if (i+1)%20 == 0 {
			t.Logf("%d rounds in %v: %v", i+1, time.Since(begin).Round(time.Second), r.count)
		}
	}
	figures := map[string]any{"seed": s, "kills_of_each": rounds, "seconds": time.Since(begin).Seconds()}
	for _, what := range []string{"running", "paused", "lost", "frozen or damaged"} {
		figures[what] = r.count[what]
	}
	record(t, "first moments", figures)
	r.finish(t)
}

// keepBusy runs processes that take all the processor time they get.
func keepBusy(t *testing.T, n int) {
	t.Helper()
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

// prepare brings every sandbox to what its operation needs, and makes those that
// are not there.
func (r *firstRound) prepare(t *testing.T) {
	t.Helper()
	for op, o := range firstOps {
		if r.subjects[op] == nil {
			sb, err := r.api.Create(t.Context(), "base", live)
			if err != nil {
				t.Fatal(err)
			}
			r.subjects[op] = startCounter(t, r.api, sb)
		}
		if o.paused {
			if err := r.api.Pause(t.Context(), r.subjects[op].sb.ID, true); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// killAfter sends all requests, kills the daemon some time later and starts the
// next one.
func (r *firstRound) killAfter(t *testing.T, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
	defer cancel()
	var sent, answered sync.WaitGroup
	for op, o := range firstOps {
		sent.Add(1)
		answered.Go(func() {
			sent.Done()
			o.do(ctx, r.api, r.subjects[op].sb.ID) // The daemon dies under most.
		})
	}
	sent.Wait()
	<-time.After(after)
	r.kill(t)
	answered.Wait()
	r.start()
}

// check makes sure that a sandbox runs or can be resumed, answers, and is what it
// was.
func (r *firstRound) check(ctx context.Context, op int) error {
	c := r.subjects[op]
	sb, err := r.api.Get(ctx, c.sb.ID)
	if code(err) == 404 {
		r.count["lost"]++
		return errors.New("it is lost")
	}
	if err != nil {
		return err
	}
	r.count[string(sb.State)]++
	until, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	_, _, err = r.api.Connect(until, sb.ID, live)
	for code(err) == 409 || code(err) == 503 {
		select {
		case <-time.After(50 * time.Millisecond): // It is on its way to one or the other.
			_, _, err = r.api.Connect(until, sb.ID, live)
		case <-until.Done():
			return fmt.Errorf("it was %s and cannot be had: %w", sb.State, err)
		}
	}
	if err == nil {
		err = c.advance(ctx, r.api)
	}
	if err != nil {
		r.count["frozen or damaged"]++
		return fmt.Errorf("it was %s: %w", sb.State, err)
	}
	return nil
}

// clear removes what the operations have made. A child that is there must answer.
func (r *firstRound) clear(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	ours := map[string]bool{}
	for _, c := range r.subjects {
		if c != nil {
			ours[c.sb.ID] = true
		}
	}
	list, err := r.api.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range list {
		if ours[sb.ID] {
			continue
		}
		if !r.givenUp[sb.ID] && sb.State == "running" {
			if err := r.answersSoon(ctx, sb.ID); err != nil {
				t.Errorf("%s is listed, and must be a child that runs: %v", sb.ID, err)
			}
		}
		if err := r.api.Kill(ctx, sb.ID); err != nil {
			t.Error(err)
		}
	}
	snapshots, err := r.api.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots {
		if err := r.api.DeleteSnapshot(ctx, s.ID); err != nil {
			t.Error(err)
		}
	}
}

func (r *firstRound) answersSoon(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	return r.answers(ctx, id)
}
