package dataplane

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// sleepers are sandboxes that are paused, and whose resumes take until ctx ends or
// resumed is closed.
type sleepers struct {
	piped
	resumed chan struct{}
	wakes   atomic.Int64
}

func (s *sleepers) Get(_ context.Context, id string) (sandbox.Sandbox, error) {
	return sandbox.Sandbox{ID: id, State: sandbox.StatePaused, AutoResume: true}, nil
}

func (s *sleepers) Wake(ctx context.Context, id string) (sandbox.Sandbox, error) {
	s.wakes.Add(1)
	select {
	case <-s.resumed:
	case <-ctx.Done():
	}
	return sandbox.Sandbox{}, sandbox.ErrNotRunning
}

func TestWaitersForResumesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sleepers{resumed: make(chan struct{})}
		p := New(s, slog.New(slog.DiscardHandler))
		defer p.Close()
		p.Bound(8)
		codes := make(chan int)
		waits := func(id string) {
			go func() { codes <- serveOne(p, id, 80).Code }()
			synctest.Wait()
		}
		for _, id := range []string{"i0", "i0", "i1", "i1", "i2", "i2"} {
			waits(id)
		}
		if w := serveOne(p, "i0", 80); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("more than one sandbox's share: %d %s", w.Code, w.Body)
		}
		waits("i3")
		waits("i4")
		if w := serveOne(p, "i5", 80); w.Code != 503 {
			t.Errorf("more than all: %d %s", w.Code, w.Body)
		}
		close(s.resumed)
		for range 8 {
			if code := <-codes; code != 502 {
				t.Errorf("one that waited: %d", code)
			}
		}
		if p.wakers.All() != 0 {
			t.Errorf("%d are still counted", p.wakers.All())
		}
		if s.wakes.Load() != 8 {
			t.Errorf("%d waited", s.wakes.Load())
		}
	})
}

// A resume is charged once for all requests that wait for it. A request that cannot be
// charged may join such a resume, and starts none.
func TestAResumeIsPaidForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sleepers{resumed: make(chan struct{})}
		p := New(s, slog.New(slog.DiscardHandler))
		defer p.Close()
		left := 1.0 * wakeCost
		p.OnWork(func(_ *http.Request, work float64) (time.Duration, bool) {
			left -= work
			return time.Second, left >= 0
		})
		codes := make(chan int)
		for range 10 {
			go func() { codes <- serveOne(p, "i0", 80).Code }()
			synctest.Wait()
		}
		if left != 0 || s.wakes.Load() != 10 {
			t.Errorf("%v left, %d wait", left, s.wakes.Load())
		}
		if w := serveOne(p, "i1", 80); w.Code != 429 {
			t.Errorf("another: %d %s", w.Code, w.Body)
		}
		close(s.resumed)
		for range 10 {
			<-codes
		}
		if w := serveOne(p, "i0", 80); w.Code != 429 || s.wakes.Load() != 10 {
			t.Errorf("the next resume: %d %s", w.Code, w.Body)
		}
	})
}
