// Package events has the operations on the events of sandboxes: pages of them, and streams. Only package e2b/control
// imports it.
package events

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/sse"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	// MaxStreams is how many streams of events are open at a time, and MaxStreamsOfOne those of one key.
	MaxStreams, MaxStreamsOfOne = 64, 16
	// streamBatch is how many events are read and sent at once.
	streamBatch = 100
	// keepAliveTime is how long a stream is silent at most, and how often the key of its client is checked again.
	keepAliveTime = 15 * time.Second
	// restTime is how long a stream rests that has sent all there was.
	restTime = 50 * time.Millisecond
	// writeTime is how long a client may take to read what is sent at once.
	writeTime = 10 * time.Second
	// streamRetry is when a client asks again that gets no stream.
	streamRetry = 5 * time.Second
)

// Runtime is the part of a runtime that the operations of events use.
type Runtime interface {
	// Events returns a page of events.
	Events(ctx context.Context, f sandbox.EventFilter) ([]sandbox.Event, error)
	// EventPosition returns where an event is by its id, and that id; those of the newest if it is empty. ErrInvalid if there was none.
	EventPosition(ctx context.Context, id string) (known string, position int64, err error)
	// AwaitEvents returns the oldest events after a position that match, at most f.Limit. If there are none it waits until ctx ends.
	AwaitEvents(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error)
}

// Operations are those of the API about events. It is safe for concurrent use.
type Operations struct {
	// Most and MostOfOne bound the streams of all clients, and of one key. They are set before use.
	Most, MostOfOne int
	// WriteTime is how long a client may take to read what is sent at once. It is set before use.
	WriteTime time.Duration

	runtime Runtime
	reply   exchange.Replier
	open    quota.Waits     // the streams
	life    context.Context // ends when they are to end
	end     context.CancelFunc
}

// New returns the operations of a runtime.
func New(runtime Runtime, reply exchange.Replier) *Operations {
	o := &Operations{Most: MaxStreams, MostOfOne: MaxStreamsOfOne, WriteTime: writeTime, runtime: runtime, reply: reply}
	o.life, o.end = context.WithCancel(context.Background())
	return o
}

// Open is how many streams are open.
func (o *Operations) Open() int { return o.open.All() }

// EndStreams ends the streams of events, and those that begin later.
func (o *Operations) EndStreams() { o.end() }

// ListEvents serves GET /events/sandboxes.
func (o *Operations) ListEvents(w http.ResponseWriter, r *http.Request, p openapi.ListEventsParams) {
	o.listEvents(w, r, p, "")
}

// ListSandboxEvents serves GET /events/sandboxes/{sandboxID}.
func (o *Operations) ListSandboxEvents(w http.ResponseWriter, r *http.Request, id string, p openapi.ListSandboxEventsParams) {
	o.listEvents(w, r, openapi.ListEventsParams(p), id)
}

func (o *Operations) listEvents(w http.ResponseWriter, r *http.Request, p openapi.ListEventsParams, id string) {
	f, err := wire.EventFilter(p, id)
	var events []sandbox.Event
	if err == nil {
		events, err = o.runtime.Events(r.Context(), f)
	}
	o.reply.Answer(w, r, wire.Events(events), err, id)
}

// StreamEvents serves GET /events/stream.
func (o *Operations) StreamEvents(w http.ResponseWriter, r *http.Request, p openapi.StreamEventsParams) {
	key := exchange.KeyID(r.Context())
	if _, ok := o.open.Enter(key, o.Most, o.MostOfOne); !ok {
		o.reply.Fail(w, r, refusal.TooManyEventStreams.With().After(streamRetry), "")
		return
	}
	defer o.open.Leave(key)
	f, last, after, err := o.streamed(r.Context(), p)
	if err != nil {
		o.reply.Fail(w, r, err, "")
		return
	}
	s, err := sse.Begin(w, last, o.WriteTime)
	defer s.End()
	if err != nil || r.Method == http.MethodHead {
		return // The client is gone, as below, or asked for the header only.
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(o.life, func() {
		cancel()
		s.Hurry() // It may be waiting for a client that does not read.
	})()
	checked := time.Now() // the key
	said := checked
	for err == nil {
		until := checked // A stream that is never silent checks its key, too.
		if said.Before(until) {
			until = said
		}
		var events []sandbox.Event
		if events, err = o.await(ctx, f, after, time.Until(until.Add(keepAliveTime))); err != nil {
			break
		}
		if time.Since(checked) >= keepAliveTime {
			if !exchange.StillValid(r.Context()) {
				return
			}
			checked = time.Now()
		}
		switch {
		case len(events) > 0:
			messages := make([]sse.Message, len(events))
			for i, e := range events {
				messages[i] = sse.Message{ID: e.ID, Data: wire.Event(e)}
				after = e.Position
			}
			err = s.Send(messages)
			said = time.Now()
			if len(events) < streamBatch {
				rest(ctx)
			}
		case time.Since(said) >= keepAliveTime:
			err = s.KeepAlive()
			said = time.Now()
		}
	}
}

// rest waits a moment, so that many events that come one by one are few reads.
func rest(ctx context.Context) {
	select {
	case <-time.After(restTime):
	case <-ctx.Done():
	}
}

// streamed reads the parameters of a stream, and returns the id and the position of the event that it begins after.
func (o *Operations) streamed(ctx context.Context, p openapi.StreamEventsParams) (f sandbox.EventFilter, last string, after int64, err error) {
	f.Limit = streamBatch
	if p.Sandbox != nil {
		if f.SandboxID, err = wire.ParseID(*p.Sandbox); err != nil {
			return f, "", 0, err
		}
	}
	if f.Types, err = wire.EventTypes(p.Types); err != nil {
		return f, "", 0, err
	}
	if p.LastEventID != nil {
		last = *p.LastEventID
	}
	last, after, err = o.runtime.EventPosition(ctx, last)
	return f, last, after, err
}

// errSilent is the cause of the end of a wait in which nothing happened.
var errSilent = errors.New("no event yet")

// await returns the next events, or none after a time of silence. An error ends the stream.
func (o *Operations) await(ctx context.Context, f sandbox.EventFilter, after int64, most time.Duration) ([]sandbox.Event, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errSilent)
	defer cancel()
	events, err := o.runtime.AwaitEvents(ctx, f, after)
	if errors.Is(err, errSilent) {
		return nil, nil
	}
	return events, err
}
