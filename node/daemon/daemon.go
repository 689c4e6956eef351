// Package daemon serves a node: the E2B API and the data plane on one listener, with
// metrics, spans and the limits of a long-lived process. "rundlet serve" is its flags.
//
// It may import node, e2b, telemetry and the packages below them; commands import it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/node/names"
	"github.com/rundlet/rundlet/policy/limits"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/telemetry"
	"github.com/rundlet/rundlet/vm"
)

// DefaultListen is where the API is served unless it is said otherwise.
const DefaultListen = "127.0.0.1:3000"

// Config says how a daemon serves its node.
type Config struct {
	// Node is the configuration of the node. Serve fills in Opened, Recovering, Latency
	// and Tracer.
	Node node.Config
	// Sockets opens what the daemon listens on; nil is what this process opens.
	Sockets names.Sockets
	// Listen is the address of the API and the data plane; empty is DefaultListen, or with
	// TLS the port of Domain on the same address.
	Listen string
	// MetricsListen is a loopback address that serves /metrics without a key; empty is
	// none.
	MetricsListen string
	// Domain is that whose sub-domains PORT-SANDBOX.DOMAIN lead to sandboxes, with a port
	// where clients need one. It may be empty without TLS; with TLS.Local, empty is
	// DefaultDomain.
	Domain string
	// TLS says which certificates the listener has; the zero value is none, and plain HTTP.
	TLS TLS
	// NamesListen is an address, such as 127.0.0.1:5353, of a DNS server for Domain; empty
	// is none.
	NamesListen string
	// NamesAddress is what the names resolve to; the zero value is where the daemon listens.
	NamesAddress netip.Addr
	// TrustedProxies are the reverse proxies whose X-Forwarded-For names the client.
	TrustedProxies []netip.Prefix
	// RequireSecure refuses a create that would make a sandbox whose agent is open.
	RequireSecure bool
	// Access, if it is not nil, is called for each request of a client when it has ended; the last calls are made before
	// Serve returns. It must not block. Package node/accesslog has one.
	Access func(e2b.Access)
	// Version is that of the program, for spans and metrics.
	Version string
	// Ending decides whether the sandboxes end, from the cause of the context's
	// end (nil if the daemon ends for another reason). Nil leaves all of them for the
	// next start.
	Ending func(cause error) node.Ending
	// Ready is called with the URL of the API when requests are answered. It may be nil.
	Ready func(url string)
}

// Serve opens the node and serves it until ctx ends. Health checks are answered from
// before the node is open until after the last request.
func Serve(ctx context.Context, cfg Config) (err error) {
	if cfg.Node.Log == nil {
		cfg.Node.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Node.Driver != "" {
		if _, err := vm.FindDriver(cfg.Node.Driver, ""); err != nil {
			return err
		}
	}
	if cfg.Node.Dirs, err = layout.Resolve(cfg.Node.Dirs, os.Getenv); err != nil {
		return err
	}
	if cfg.Sockets == nil {
		cfg.Sockets = &net.ListenConfig{}
	}
	if err := cfg.completeAddress(); err != nil {
		return err
	}
	log := cfg.Node.Log
	// The port first: a second daemon by mistake should touch nothing.
	ln, err := listenAt(ctx, cfg.Sockets, cfg.Listen, portPatience)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer ln.Close()
	if err := host.ShortenSlices(); err != nil {
		log.Warn("threads keep the kernel's time slices", "error", err)
	}
	tel, endTelemetry, err := openTelemetry(ctx, cfg.Version, log)
	if err != nil {
		return err
	}
	defer endTelemetry()
	stopMetrics, err := serveMetrics(ctx, cfg.Sockets, cfg.MetricsListen, tel.Handler(), log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	zone, err := cfg.serveNames(ctx, ln.Addr().(*net.TCPAddr))
	if err != nil {
		return err
	}
	defer zone.Close()
	cfg.Node.Latency, cfg.Node.Tracer = tel.Recorder(), tel
	protectFromOOM(log)
	split := divideDescriptors(log)
	front := newFront(ln, e2b.NewStarting(cfg.server(split, tel.Handler())))
	var certificates io.Closer
	defer func() {
		if certificates != nil {
			err = errors.Join(err, certificates.Close())
		}
	}()
	cfg.Node.Opened = func(db *store.Store) (err error) {
		if certificates, err = cfg.secure(ctx, front, zone); err != nil {
			return err
		}
		return front.begin(ctx, db, cfg.Node.Dirs)
	}
	cfg.Node.Recovering = front.server.Recovering
	n, err := node.Open(ctx, cfg.Node)
	if err != nil {
		return errors.Join(err, front.end())
	}
	return cfg.serveNode(ctx, n, tel, front)
}

// server is the configuration of the server in front of the node.
func (c *Config) server(split limits.Split, metrics http.Handler) e2b.Config {
	return e2b.Config{
		MaxConnections: split.Clients, MaxStreams: split.Streams, Domain: c.Domain, Metrics: metrics, Log: c.Node.Log,
		TrustedProxies: c.TrustedProxies, RequireSecure: c.RequireSecure, Access: c.Access,
	}
}

// serveNode serves an open node until ctx ends, and closes it. Only the end of ctx
// may end sandboxes: whatever else makes it return, a full disk or a broken listener,
// they are there for the next start.
func (c *Config) serveNode(ctx context.Context, n *node.Node, tel *telemetry.Telemetry, front *front) (err error) {
	defer func() {
		how := node.LeaveAll
		if c.Ending != nil {
			how = c.Ending(context.Cause(ctx))
		}
		err = errors.Join(err, front.end(), n.Close(how))
	}()
	if err := tel.RegisterState(n.State); err != nil {
		return err
	}
	front.server.Open(n.Runtime, keys.New(n.Store))
	go func() {
		if err := n.Runtime.Prepare(ctx); err != nil && ctx.Err() == nil {
			c.Node.Log.Error("could not prepare the base template; the next create retries", "error", err)
		}
	}()
	if c.Ready != nil {
		c.Ready(front.endpoint.URL)
	}
	return front.wait()
}
