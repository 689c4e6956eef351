package dataplane

import (
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func TestConnectionsIntoSandboxesAreBounded(t *testing.T) {
	start := time.Unix(1, 0)
	rt := &piped{}
	p := New(rt, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.Bound(8)
	begin := func(id string) *run {
		r, err := p.pool.acquire(sandbox.Sandbox{ID: id, State: sandbox.StateRunning, StartedAt: start, KeyID: id})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.release)
		return r
	}
	dial := func(r *run) (net.Conn, error) { return r.dial(t.Context(), "tcp", "x:80") }
	greedy := begin("i0")
	var open []net.Conn
	for range 2 {
		c, err := dial(greedy)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, err := dial(greedy); !errors.Is(err, errTooManyStreams) {
		t.Errorf("more than its share: %v", err)
	}
	for _, id := range []string{"i1", "i2", "i3"} {
		for r := begin(id); ; {
			if c, err := dial(r); err == nil {
				open = append(open, c)
			} else if errors.Is(err, errTooManyStreams) {
				break
			} else {
				t.Fatal(err)
			}
		}
	}
	if len(open) != 8 {
		t.Errorf("%d are open", len(open))
	}
	last := begin("i4")
	if _, err := dial(last); !errors.Is(err, errTooManyStreams) {
		t.Errorf("more than all: %v", err)
	}
	for _, c := range open {
		c.Close()
		c.Close() // Counted once all the same.
	}
	if _, err := dial(last); err != nil {
		t.Errorf("after all were closed: %v", err)
	}
	if p.pool.open != 1 || len(p.pool.openOf) != 1 {
		t.Errorf("%d are counted, of %v", p.pool.open, p.pool.openOf)
	}
}

// However many sandboxes a key has, the others keep a quarter.
func TestConnectionsOfAKeyAreBounded(t *testing.T) {
	p := New(&piped{}, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.Bound(16)
	begin := func(id, key string) *run {
		r, err := p.pool.acquire(sandbox.Sandbox{ID: id, State: sandbox.StateRunning, KeyID: key})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.release)
		return r
	}
	var open []net.Conn
	fill := func(id, key string) (n int) {
		for r := begin(id, key); ; n++ {
			c, err := r.dial(t.Context(), "tcp", "x:80")
			if errors.Is(err, errTooManyStreams) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
		}
	}
	for i, c := range []struct {
		id, key string
		want    int
	}{{"i0", "a", 4}, {"i1", "a", 4}, {"i2", "a", 4}, {"i3", "a", 0}, {"i4", "b", 4}, {"i5", "c", 0}} {
		if got := fill(c.id, c.key); got != c.want {
			t.Errorf("%d: %s of key %s gets %d, want %d", i, c.id, c.key, got, c.want)
		}
	}
	for _, c := range open {
		_ = c.Close()
	}
	if p.pool.open != 0 || len(p.pool.openOf) != 0 {
		t.Errorf("%d are counted at the end, of %v", p.pool.open, p.pool.openOf)
	}
}

// A dial that fails is not counted, or the bound would be used up by nothing.
func TestADialThatFailsIsNotCounted(t *testing.T) {
	rt := &piped{fail: sandbox.ErrLacking}
	p := New(rt, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.Bound(4)
	r, err := p.pool.acquire(sandbox.Sandbox{ID: "i0", State: sandbox.StateRunning})
	if err != nil {
		t.Fatal(err)
	}
	defer r.release()
	for range 10 {
		if _, err := r.dial(t.Context(), "tcp", "x:80"); !errors.Is(err, sandbox.ErrLacking) {
			t.Fatal(err)
		}
	}
	if p.pool.open != 0 || r.open != 0 {
		t.Errorf("%d and %d are counted", p.pool.open, r.open)
	}
}
