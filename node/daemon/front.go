package daemon

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

// front serves a listener from before there is a node until after the last
// request: health checks are answered at once, and other requests within a bound.
type front struct {
	server   *e2b.Server
	listener net.Listener
	tls      *tls.Config // nil without TLS
	endpoint statedir.Endpoint
	cancel   context.CancelFunc // nil before begin
	ended    chan struct{}      // closed when err is set
	err      error
}

// newFront returns a front that does not serve until begin is called.
func newFront(ln net.Listener, server *e2b.Server) *front {
	return &front{server: server, listener: ln, endpoint: statedir.Endpoint{URL: "http://" + reachable(ln.Addr().(*net.TCPAddr))}, ended: make(chan struct{})}
}

// begin serves until ctx ends or end is called. A health check of the
// daemon next asks for its address and its key, so these are written before.
func (f *front) begin(ctx context.Context, db *store.Store, dirs layout.Layout) error {
	if _, err := keys.Default(ctx, db, dirs); err != nil {
		return err
	}
	if err := statedir.WriteEndpoint(dirs, f.endpoint); err != nil {
		return err
	}
	ctx, f.cancel = context.WithCancel(ctx)
	go func() {
		defer close(f.ended)
		f.err = f.server.ServeTLS(ctx, f.listener, f.tls)
	}()
	return nil
}

// wait returns when no request is left, with the error that ended the serving; nil for the
// end of the context. It must come after begin.
func (f *front) wait() error {
	<-f.ended
	return f.err
}

// end ends the serving and waits for the last request. Its error is one that
// wait did not return.
func (f *front) end() error {
	if f.cancel == nil {
		return nil // It never began.
	}
	select {
	case <-f.ended:
		return nil
	default:
	}
	f.cancel()
	return f.wait()
}
