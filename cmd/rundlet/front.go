package main

import (
	"context"
	"net"

	"github.com/rundlet/rundlet/e2b"
)

// front serves a listener from before there is a node until after the last
// request: who asks for the health of the daemon gets an answer at once, and
// everybody else one soon.
type front struct {
	server *e2b.Server
	url    string
	cancel context.CancelFunc
	ended  chan struct{} // closed when err is set
	err    error
}

// newFront begins to serve, until ctx ends or end is called.
func newFront(ctx context.Context, ln net.Listener, server *e2b.Server) *front {
	ctx, cancel := context.WithCancel(ctx)
	f := &front{server: server, url: "http://" + reachable(ln.Addr().(*net.TCPAddr)), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		f.err = server.Serve(ctx, ln)
	}()
	return f
}

// wait returns when no request is left, with what ended the serving; nil for the
// end of the context.
func (f *front) wait() error {
	<-f.ended
	return f.err
}

// end ends the serving and waits for the last request. Its error is one that
// wait did not return.
func (f *front) end() error {
	select {
	case <-f.ended:
		return nil
	default:
	}
	f.cancel()
	return f.wait()
}
