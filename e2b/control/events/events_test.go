package events

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

// streaming serves one stream until its context ends, and returns what was written then.
func streaming(ctx context.Context, o *Operations) func() string {
	w, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		o.StreamEvents(w, httptest.NewRequest("GET", "/events/stream", nil).WithContext(ctx), openapi.StreamEventsParams{})
	}()
	return func() string {
		<-done
		return w.Body.String()
	}
}

func newOperations(rt *fakeruntime.Runtime) *Operations {
	return New(rt, exchange.Replier{Log: slog.New(slog.DiscardHandler)})
}

func TestASilentStreamIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeruntime.Runtime{}
		ctx, leave := context.WithCancel(t.Context())
		end := streaming(ctx, newOperations(rt))
		time.Sleep(2*keepAliveTime + time.Second)
		rt.Journal.Happen(sandbox.Event{Type: sandbox.EventCreated})
		synctest.Wait()
		time.Sleep(keepAliveTime - time.Second)
		leave()
		got := end()
		if n := strings.Count(got, ": keep-alive\n\n"); n != 2 || !strings.HasSuffix(got, "}\n\n") {
			t.Errorf("%q", got)
		}
	})
}

// reads counts the reads of a journal.
type reads struct {
	*fakeruntime.Runtime
	n atomic.Int32
}

func (r *reads) AwaitEvents(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error) {
	r.n.Add(1)
	return r.Runtime.AwaitEvents(ctx, f, after)
}

// Events that come as fast as they are sent are read a few at a time.
func TestABusyStreamRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &reads{Runtime: &fakeruntime.Runtime{}}
		ctx, leave := context.WithCancel(t.Context())
		end := streaming(ctx, New(rt, exchange.Replier{Log: slog.New(slog.DiscardHandler)}))
		synctest.Wait()
		const events = 500
		for range events {
			rt.Journal.Happen(sandbox.Event{Type: sandbox.EventUpdated})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * restTime)
		leave()
		if got := strings.Count(end(), "data: "); got != events || rt.n.Load() > 15 {
			t.Errorf("%d events in %d reads", got, rt.n.Load())
		}
	})
}

func TestAHeaderOfAStreamEnds(t *testing.T) {
	w := httptest.NewRecorder()
	newOperations(&fakeruntime.Runtime{}).StreamEvents(w, httptest.NewRequest("HEAD", "/events/stream", nil), openapi.StreamEventsParams{})
	if got := w.Header().Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("%q", got)
	}
}

// deadlines records the deadline of writes of a connection.
type deadlines struct {
	*httptest.ResponseRecorder
	now time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.now = t
	return nil
}

// The next response on the connection has no deadline of a stream, also after a request for the header only.
func TestTheConnectionOfAStreamIsUsedAgain(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		w := &deadlines{httptest.NewRecorder(), time.Time{}}
		o := newOperations(&fakeruntime.Runtime{})
		o.EndStreams()
		o.StreamEvents(w, httptest.NewRequest(method, "/events/stream", nil), openapi.StreamEventsParams{})
		if w.Code != 200 || !w.now.IsZero() {
			t.Errorf("%s: status %d, and the deadline %s stays", method, w.Code, w.now)
		}
	}
}

func TestAStreamEndsWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var removed atomic.Bool
		end := streaming(exchange.WithRecheck(t.Context(), func() bool { return !removed.Load() }), newOperations(&fakeruntime.Runtime{}))
		time.Sleep(keepAliveTime + time.Second)
		removed.Store(true)
		began := time.Now()
		if got := end(); strings.Count(got, "keep-alive") != 1 || time.Since(began) > keepAliveTime {
			t.Errorf("%q after %s", got, time.Since(began))
		}
	})
}

// A stream that is never silent ends with its key, too.
func TestABusyStreamEndsWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var removed atomic.Bool
		rt := &fakeruntime.Runtime{}
		ctx, leave := context.WithCancel(exchange.WithRecheck(t.Context(), func() bool { return !removed.Load() }))
		defer leave()
		o := newOperations(rt)
		end := streaming(ctx, o)
		synctest.Wait()
		for range 20 {
			rt.Journal.Happen(sandbox.Event{Type: sandbox.EventUpdated})
			time.Sleep(time.Second)
		}
		removed.Store(true)
		for range keepAliveTime / time.Second {
			rt.Journal.Happen(sandbox.Event{Type: sandbox.EventUpdated})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if o.Open() != 0 {
			t.Errorf("it is open %s after its key was removed", keepAliveTime)
			leave()
		}
		if got := strings.Count(end(), "data: "); got < 20 || got >= 35 {
			t.Errorf("it had %d events", got)
		}
	})
}

func TestAStreamEndsWithTheRuntimeAndTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &fakeruntime.Runtime{}
		o := newOperations(rt)
		one := streaming(t.Context(), o)
		synctest.Wait()
		rt.Fail(errors.New("the disk is gone"))
		if got := one(); strings.Contains(got, "data") {
			t.Errorf("%q", got)
		}
		rt.Fail(nil)
		other := streaming(t.Context(), o)
		synctest.Wait()
		if o.Open() != 1 {
			t.Errorf("%d are open", o.Open())
		}
		o.EndStreams()
		other()
		if o.Open() != 0 {
			t.Errorf("%d are open after the end", o.Open())
		}
	})
}
