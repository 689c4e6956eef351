package dataplane

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

func (p *piped) AwaitSync(ctx context.Context, id string) error {
	sb, err := p.Get(ctx, id)
	if err != nil || sb.Freshness.Decided() {
		return err
	}
	if p.waits != nil {
		p.waits <- struct{}{}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAWriteIsRefusedAfterAWhileAndMayBeTriedAgain(t *testing.T) {
	rt := &piped{sb: sandbox.Sandbox{ID: "i1", State: sandbox.StateRunning, Freshness: sandbox.Freshness{Phase: sandbox.FreshnessRestored, Branch: "main"}}}
	p := New(rt, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.freshTime = 20 * time.Millisecond
	w := httptest.NewRecorder()
	p.Serve(w, httptest.NewRequest("POST", "/files", nil), route.Target{ID: "i1", Port: envd.Port})
	if w.Code != 409 || w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), "not up to date yet") || len(rt.far) > 0 {
		t.Errorf("%d %s, after %d dials", w.Code, w.Body, len(rt.far))
	}
	// So many may wait, and no more.
	p.Bound(4)
	p.freshTime = time.Minute
	rt.waits = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = recover() }() // Its client goes away.
		p.Serve(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/files", nil), route.Target{ID: "i1", Port: envd.Port})
	}()
	<-rt.waits
	w = httptest.NewRecorder()
	p.Serve(w, httptest.NewRequest("POST", "/files", nil), route.Target{ID: "i1", Port: envd.Port})
	if w.Code != 503 {
		t.Errorf("one too many is answered %d %s", w.Code, w.Body)
	}
	cancel()
	<-ended
}

// A client with many sandboxes whose gates never open leaves room for the writes of others, and for all that wait for a resume.
func TestWaitsForSyncsOfOneKeyLeaveRoom(t *testing.T) {
	p := New(&piped{}, slog.New(slog.DiscardHandler))
	defer p.Close()
	p.Bound(8)
	var waiting []sandbox.Sandbox
	for _, id := range []string{"i1", "i2", "i3", "i4", "i5"} {
		for range 3 {
			if sb := (sandbox.Sandbox{ID: id, KeyID: "greedy"}); p.enterSync(sb) {
				waiting = append(waiting, sb)
			}
		}
	}
	if len(waiting) != 6 {
		t.Errorf("%d wait, want 6", len(waiting))
	}
	for range 3 {
		if sb := (sandbox.Sandbox{ID: "i6", KeyID: "another"}); p.enterSync(sb) {
			waiting = append(waiting, sb)
		}
	}
	if len(waiting) != 8 {
		t.Errorf("%d wait, want 8", len(waiting))
	}
	if _, ok := p.wakers.Enter("i7", 8, 2); !ok {
		t.Error("they keep a request from a resume")
	}
	for _, sb := range waiting {
		p.leaveSync(sb)
	}
	if p.syncers.All() != 0 || p.syncersOfKey.All() != 0 {
		t.Errorf("left are %d, %d", p.syncers.All(), p.syncersOfKey.All())
	}
}
