//go:build linux

package process

import (
	"sync"
	"time"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

const (
	// queueEvents bounds what waits for one subscriber: 2 MiB of full chunks.
	queueEvents = 64
	// stallLimit is how long a full queue may hold up the process before its
	// subscriber is dropped.
	stallLimit = 60 * time.Second
)

// fanout hands a process's events to its subscribers. A subscriber that does
// not keep up slows the process down, for stallLimit at most. Without
// subscribers events are dropped, except the last one.
type fanout struct {
	mu   sync.Mutex
	subs map[*subscription]struct{}
	last *processpb.ProcessEvent
}

// subscription receives events; the last one is the end of the process, unless
// the subscriber was too slow (dropped is then true).
type subscription struct {
	events chan *processpb.ProcessEvent
	// gone is closed when the last reader is gone.
	gone    chan struct{}
	once    sync.Once
	dropped bool
}

func (s *subscription) cancel() { s.once.Do(func() { close(s.gone) }) }

func (s *subscription) drop() {
	s.once.Do(func() {
		s.dropped = true
		close(s.gone)
	})
}

// subscribe begins a subscription; the caller must unsubscribe it.
func (f *fanout) subscribe() *subscription {
	s := &subscription{
		events: make(chan *processpb.ProcessEvent, queueEvents),
		gone:   make(chan struct{}),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last != nil {
		s.events <- f.last
		return s
	}
	if f.subs == nil {
		f.subs = map[*subscription]struct{}{}
	}
	f.subs[s] = struct{}{}
	return s
}

func (f *fanout) unsubscribe(s *subscription) {
	s.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, s)
}

func (f *fanout) current() []*subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*subscription, 0, len(f.subs))
	for s := range f.subs {
		list = append(list, s)
	}
	return list
}

// publish queues an event for everybody.
func (f *fanout) publish(ev *processpb.ProcessEvent) {
	for _, s := range f.current() {
		f.send(s, ev)
	}
}

// offer queues an event for those whose queues are not full.
func (f *fanout) offer(ev *processpb.ProcessEvent) {
	for _, s := range f.current() {
		select {
		case s.events <- ev:
		default:
		}
	}
}

func (f *fanout) send(s *subscription, ev *processpb.ProcessEvent) {
	select {
	case <-s.gone:
		return
	case s.events <- ev:
		return
	default:
	}
	stalled := time.NewTimer(stallLimit)
	defer stalled.Stop()
	select {
	case <-s.gone:
	case s.events <- ev:
	case <-stalled.C:
		s.drop()
	}
}

// finish publishes the last event and ends all subscriptions, present and
// future. No publish may follow.
func (f *fanout) finish(ev *processpb.ProcessEvent) {
	f.mu.Lock()
	f.last = ev
	list := make([]*subscription, 0, len(f.subs))
	for s := range f.subs {
		list = append(list, s)
	}
	f.subs = nil
	f.mu.Unlock()
	for _, s := range list {
		f.send(s, ev)
	}
}
