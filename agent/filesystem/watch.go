//go:build linux

package filesystem

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/agent/stream"
	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

const (
	// maxPolled bounds the events that wait for a polling client.
	maxPolled = 65536
	// maxWatchers bounds what clients can leave behind.
	maxWatchers = 1024
)

var errExpired = errors.New("the timeout of the request has passed")

// WatchDir streams the events of a directory.
func (s *Service) WatchDir(ctx context.Context, req *connect.Request[filesystempb.WatchDirRequest], out *connect.ServerStream[filesystempb.WatchDirResponse]) error {
	m := req.Msg
	_, path, err := s.locate(req, m.GetPath())
	if err != nil {
		return err
	}
	t, err := s.watch(path, m.GetRecursive(), m.GetIncludeEntry(), m.GetAllowNetworkMounts())
	if err != nil {
		return err
	}
	defer t.close()
	expired := make(chan struct{})
	if d, ok := stream.Timeout(ctx); ok {
		timer := stream.AfterFunc(d, func() { close(expired) })
		defer timer.Stop()
	}
	start := &filesystempb.WatchDirResponse_Start{Start: &filesystempb.WatchDirResponse_StartEvent{}}
	if err := out.Send(&filesystempb.WatchDirResponse{Event: start}); err != nil {
		return err
	}
	interval := stream.PingInterval(req.Header())
	ping := time.NewTimer(interval)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return connect.NewError(connect.CodeCanceled, ctx.Err())
		case <-expired:
			return connect.NewError(connect.CodeDeadlineExceeded, errExpired)
		case err := <-t.kernel.errors:
			return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("watch %s: %w", path, err))
		case batch := <-t.kernel.events:
			events, err := t.translate(batch)
			for _, e := range events {
				if err := out.Send(&filesystempb.WatchDirResponse{Event: &filesystempb.WatchDirResponse_Filesystem{Filesystem: e}}); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
		case <-ping.C:
			keepalive := &filesystempb.WatchDirResponse_Keepalive{Keepalive: &filesystempb.WatchDirResponse_KeepAlive{}}
			if err := out.Send(&filesystempb.WatchDirResponse{Event: keepalive}); err != nil {
				return err
			}
		}
		ping.Reset(interval)
	}
}

// polled is a watcher whose events wait to be fetched.
type polled struct {
	tree *tree
	done chan struct{}

	mu     sync.Mutex
	events []*filesystempb.FilesystemEvent
	err    error
}

func (p *polled) collect() {
	for {
		var events []*filesystempb.FilesystemEvent
		var err error
		select {
		case <-p.done:
			return
		case err = <-p.tree.kernel.errors:
			err = connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("watch %s: %w", p.tree.root, err))
		case batch := <-p.tree.kernel.events:
			events, err = p.tree.translate(batch)
		}
		p.mu.Lock()
		if room := maxPolled - len(p.events); p.err == nil && len(events) > room {
			events, err = events[:room], connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("more than %d events were not fetched", maxPolled))
		}
		if p.err == nil {
			p.events = append(p.events, events...)
			p.err = err
		}
		p.mu.Unlock()
	}
}

// take returns what waits; after a loss, once, the error.
func (p *polled) take() ([]*filesystempb.FilesystemEvent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.events) == 0 && p.err != nil {
		err := p.err
		p.err = nil
		return nil, err
	}
	events := p.events
	p.events = nil
	return events, nil
}

func (p *polled) close() {
	close(p.done)
	p.tree.close()
}

type watchers struct {
	mu   sync.Mutex
	byID map[string]*polled
}

func newWatchers() *watchers { return &watchers{byID: map[string]*polled{}} }

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, p := range w.byID {
		p.close()
		delete(w.byID, id)
	}
}

// CreateWatcher begins to collect the events of a directory.
func (s *Service) CreateWatcher(_ context.Context, req *connect.Request[filesystempb.CreateWatcherRequest]) (*connect.Response[filesystempb.CreateWatcherResponse], error) {
	m := req.Msg
	_, path, err := s.locate(req, m.GetPath())
	if err != nil {
		return nil, err
	}
	t, err := s.watch(path, m.GetRecursive(), m.GetIncludeEntry(), m.GetAllowNetworkMounts())
	if err != nil {
		return nil, err
	}
	p := &polled{tree: t, done: make(chan struct{})}
	id := "w" + rand.Text()
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	if len(s.watchers.byID) >= maxWatchers {
		t.close()
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("more than %d watchers", maxWatchers))
	}
	s.watchers.byID[id] = p
	go p.collect()
	return connect.NewResponse(&filesystempb.CreateWatcherResponse{WatcherId: id}), nil
}

// GetWatcherEvents returns the events since the last call.
func (s *Service) GetWatcherEvents(_ context.Context, req *connect.Request[filesystempb.GetWatcherEventsRequest]) (*connect.Response[filesystempb.GetWatcherEventsResponse], error) {
	s.watchers.mu.Lock()
	p := s.watchers.byID[req.Msg.GetWatcherId()]
	s.watchers.mu.Unlock()
	if p == nil {
		return nil, watcherMissing(req.Msg.GetWatcherId())
	}
	events, err := p.take()
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&filesystempb.GetWatcherEventsResponse{Events: events}), nil
}

// RemoveWatcher ends a watcher.
func (s *Service) RemoveWatcher(_ context.Context, req *connect.Request[filesystempb.RemoveWatcherRequest]) (*connect.Response[filesystempb.RemoveWatcherResponse], error) {
	s.watchers.mu.Lock()
	p := s.watchers.byID[req.Msg.GetWatcherId()]
	delete(s.watchers.byID, req.Msg.GetWatcherId())
	s.watchers.mu.Unlock()
	if p == nil {
		return nil, watcherMissing(req.Msg.GetWatcherId())
	}
	p.close()
	return connect.NewResponse(&filesystempb.RemoveWatcherResponse{}), nil
}

func watcherMissing(id string) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("watcher with id %s not found", id))
}
