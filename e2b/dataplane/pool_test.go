package dataplane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// piped is a runtime of one sandbox whose streams are pipes.
type piped struct {
	mu  sync.Mutex
	sb  sandbox.Sandbox
	err error
	far []net.Conn
	// fail is what dials fail with, if not nil.
	fail error
	// waits receives for each call that waits for a sync, if not nil.
	waits chan struct{}
}

func (p *piped) Get(context.Context, string) (sandbox.Sandbox, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sb, p.err
}

func (p *piped) EachToken(context.Context, func(id, token string) bool) error { return nil }
func (p *piped) Wake(ctx context.Context, id string) (sandbox.Sandbox, error) { return p.Get(ctx, id) }
func (p *piped) Settled(ctx context.Context, id string) (sandbox.Sandbox, error) {
	return p.Get(ctx, id)
}
func (p *piped) Dial(context.Context, string, uint16) (net.Conn, error) {
	if p.fail != nil {
		return nil, p.fail
	}
	near, far := net.Pipe()
	p.far = append(p.far, far)
	return near, nil
}

func TestRunEndsWithItsLifecycle(t *testing.T) {
	start := time.Unix(1, 0)
	tests := []struct {
		name   string
		change func(*piped)
		ends   bool
	}{
		{"nothing", func(*piped) {}, false},
		{"the runtime does not answer", func(p *piped) { p.err = sandbox.ErrUnavailable }, false},
		{"killed", func(p *piped) { p.err = sandbox.ErrNotFound }, true},
		{"being paused", func(p *piped) { p.sb.State = sandbox.StatePausing }, false},
		{"paused", func(p *piped) { p.sb.State = sandbox.StatePaused }, true},
		{"resumed", func(p *piped) { p.sb.StartedAt = start.Add(1) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := &piped{sb: sandbox.Sandbox{ID: "i0", State: sandbox.StateRunning, StartedAt: start}}
				p := New(rt, slog.New(slog.DiscardHandler))
				defer p.Close()
				r, err := p.pool.acquire(rt.sb)
				if err != nil {
					t.Fatal(err)
				}
				defer r.release()
				c, err := r.dial(t.Context(), "tcp", "i0:80")
				if err != nil {
					t.Fatal(err)
				}
				rt.mu.Lock()
				tt.change(rt)
				rt.mu.Unlock()
				time.Sleep(sweepEvery + time.Millisecond)
				synctest.Wait()
				_ = c.SetReadDeadline(time.Now())
				_, err = c.Read(make([]byte, 1))
				var timeout net.Error
				if closed := !errors.As(err, &timeout); closed != tt.ends {
					t.Errorf("closed: %v (%v), want %v", closed, err, tt.ends)
				}
				if _, err := r.dial(t.Context(), "tcp", "i0:80"); (err != nil) != tt.ends {
					t.Errorf("dial after it: %v", err)
				}
			})
		})
	}
}

// TestRefreshEndsRunsAtOnce: a pause does not wait for the sweep,
// and the run that a resume began meanwhile goes on.
func TestRefreshEndsRunsAtOnce(t *testing.T) {
	rt := &piped{sb: sandbox.Sandbox{ID: "i0", State: sandbox.StateRunning, StartedAt: time.Unix(1, 0)}}
	p := New(rt, slog.New(slog.DiscardHandler))
	defer p.Close()
	stream := func() net.Conn {
		r, err := p.pool.acquire(rt.sb)
		if err != nil {
			t.Fatal(err)
		}
		defer r.release()
		c, err := r.dial(t.Context(), "tcp", "i0:80")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	open := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now())
		_, err := c.Read(make([]byte, 1))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	change := func(how func()) { // The sweep reads it meanwhile.
		rt.mu.Lock()
		defer rt.mu.Unlock()
		how()
	}
	first := stream()
	p.Refresh("i0")
	if !open(first) {
		t.Error("a stream of a running sandbox was broken off")
	}
	change(func() { rt.sb.StartedAt = time.Unix(2, 0) })
	second := stream()
	p.Refresh("i0")
	if open(first) || !open(second) {
		t.Errorf("after a resume: open are the old %v, the new %v", open(first), open(second))
	}
	change(func() { rt.sb.State = sandbox.StatePaused })
	p.Refresh("another")
	if !open(second) {
		t.Error("another sandbox's refresh broke a stream off")
	}
	p.Refresh("i0")
	if open(second) {
		t.Error("a stream of a paused sandbox is open")
	}
}

func TestUnusedRunIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &piped{sb: sandbox.Sandbox{ID: "i0", State: sandbox.StateRunning}}
		p := New(rt, slog.New(slog.DiscardHandler))
		r, _ := p.pool.acquire(rt.sb)
		time.Sleep(10 * sweepEvery)
		if again, _ := p.pool.acquire(rt.sb); again != r {
			t.Error("a run in use was forgotten")
		}
		r.release()
		r.release()
		time.Sleep(2 * sweepEvery)
		p.pool.mu.Lock()
		n := len(p.pool.runs)
		p.pool.mu.Unlock()
		if n != 0 {
			t.Errorf("%d runs are kept of a sandbox without traffic", n)
		}
		p.Close()
		if _, err := p.pool.acquire(rt.sb); !errors.Is(err, sandbox.ErrUnavailable) {
			t.Errorf("acquire of a closed pool: %v", err)
		}
	})
}

// slowDials is a runtime whose dials wait for ready.
type slowDials struct {
	piped
	ready chan struct{}
}

func (s *slowDials) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	<-s.ready
	return s.piped.Dial(ctx, id, port)
}

// A transport finishes a dial whose request has got another connection, and keeps what it dialed.
func TestARunWithADialUnderWayIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &slowDials{piped: piped{sb: sandbox.Sandbox{ID: "i0", State: sandbox.StateRunning}}, ready: make(chan struct{})}
		p := New(rt, slog.New(slog.DiscardHandler))
		defer p.Close()
		r, err := p.pool.acquire(rt.sb)
		if err != nil {
			t.Fatal(err)
		}
		dialed := make(chan net.Conn, 1)
		go func() {
			c, _ := r.dial(t.Context(), "tcp", "i0:80")
			dialed <- c
		}()
		r.release()
		time.Sleep(2 * sweepEvery)
		close(rt.ready)
		c := <-dialed
		p.Drop("i0")
		_ = c.SetReadDeadline(time.Now())
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection into a killed sandbox is open")
		}
	})
}
