package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/policy/limits"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/telemetry"
)

const defaultListen = "127.0.0.1:3000"

func newServe(o *options) *cobra.Command {
	var listen, metricsListen, domain, driver string
	var logs logOptions
	var opts nodeOptions
	var proxies []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the E2B API and the sandboxes' data plane",
		Long: `Serve the E2B API and the data plane on one port.

Ctrl-C ends the sandboxes that run; those that are paused, and snapshots, stay.
SIGTERM, which a service manager sends for a restart, and every failure leave
all of them for the next "rundlet serve".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if driver != "auto" && driver != "gvisor" {
				return fmt.Errorf("driver %q is not in this build; there is auto and gvisor", driver)
			}
			log, end, err := logs.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer end()
			opts.log = log
			opts.progress = func(line string) { opts.log.Info(line) }
			if opts.proxies, err = parseProxies(proxies); err != nil {
				return err
			}
			return serve(cmd, o, listen, metricsListen, domain, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultListen, "address of the API and the data plane")
	f.StringVar(&metricsListen, "metrics-listen", "", "loopback address to serve /metrics without a key (default none; the API serves it with one)")
	f.StringVar(&domain, "domain", "", "domain whose sub-domains PORT-SANDBOX.DOMAIN lead to sandboxes")
	f.StringSliceVar(&proxies, "trusted-proxy", nil, "address or network of a reverse proxy whose X-Forwarded-For names the client (loopback always is)")
	f.BoolVar(&opts.requireSecure, "require-secure", false, "give every sandbox an access token for its agent, also where the create of an older client does not ask for one; a create that asks for none is refused")
	f.StringVar(&driver, "driver", "auto", "what runs sandboxes: auto, gvisor")
	logs.flags(f)
	f.BoolVar(&opts.noUplink, "no-uplink", false, "give no sandbox a way to the internet and leave the host's network alone")
	opts.nameserverFlag(f)
	f.BoolVar(&opts.acceptEmpty, "accept-empty-database", false, "start although the database is empty or missing and there are saved snapshots; they are set aside")
	f.IntVar(&opts.ahead, "network-slots", 4, "network slots kept ready")
	f.UintVar(&opts.sandboxMbit, "sandbox-bandwidth", 1000, "Mbit/s that one sandbox may send to the internet, and receive from there")
	f.UintVar(&opts.uplinkMbit, "uplink-bandwidth", 0, "Mbit/s that all sandboxes may send to the internet: 95 % of the slowest link on the way, then they share it evenly; 0 for no bound")
	opts.capacity.flags(f)
	shareFlags(f, &opts.shares)
	opts.supervision = runtime.DefaultSupervision()
	f.DurationVar(&opts.supervision.Heartbeat, "heartbeat", opts.supervision.Heartbeat, "how often a sandbox is asked for a sign of life; one that gives none for 5 minutes is ended; 0 for never")
	f.IntVar(&opts.warm.Ready, "warm", warmpool.DefaultTarget.Ready, "sandboxes of the base kept running ahead of need; 0 for none")
	f.IntVar(&opts.warm.Prepared, "prepared", warmpool.DefaultTarget.Prepared, "sandboxes of the base kept ready to be started, behind the warm ones")
	f.DurationVar(&opts.warm.MaxAge, "warm-max-age", warmpool.DefaultTarget.MaxAge, "age at which a warm sandbox is replaced; 0 for never")
	return cmd
}

func serve(cmd *cobra.Command, o *options, listen, metricsListen, domain string, opts nodeOptions) error {
	ctx := cmd.Context()
	dirs, err := o.layout()
	if err != nil {
		return err
	}
	// The port first: a second daemon by mistake should touch nothing.
	ln, err := listenAt(ctx, listen, portPatience)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer ln.Close()
	tel, endTelemetry, err := openTelemetry(ctx, opts.log)
	if err != nil {
		return err
	}
	defer endTelemetry()
	stopMetrics, err := serveMetrics(metricsListen, tel.Handler(), opts.log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	opts.latency, opts.tracer = tel.Recorder(), tel
	protectFromOOM(opts.log)
	split := divideDescriptors(opts.log)
	front := newFront(ln, e2b.NewStarting(opts.server(domain, split, tel.Handler())))
	opts.opened = func(db *store.Store) error { return front.begin(ctx, db, dirs) }
	opts.recovering = front.server.Recovering
	n, err := openNode(ctx, dirs, opts)
	if err != nil {
		return errors.Join(err, front.end())
	}
	return serveNode(cmd, n, tel, front, opts.log)
}

// server is the configuration of the server in front of a node.
func (o *nodeOptions) server(domain string, split limits.Split, metrics http.Handler) e2b.Config {
	return e2b.Config{
		MaxConnections: split.Clients, MaxStreams: split.Streams, Domain: domain, Metrics: metrics, Log: o.log,
		TrustedProxies: o.proxies, RequireSecure: o.requireSecure,
	}
}

// serveNode serves an open node until the command's context ends, and closes it.
// Ctrl-C alone ends sandboxes: whatever else makes it return, a full disk or a
// broken listener, they are there for the next start.
func serveNode(cmd *cobra.Command, n *node, tel *telemetry.Telemetry, front *front, log *slog.Logger) (err error) {
	ctx := cmd.Context()
	defer func() {
		how := leaveAll
		if stoppedBy(ctx, os.Interrupt) {
			how = endRunning
		}
		err = errors.Join(err, front.end(), n.Close(how))
	}()
	if err := tel.RegisterState(nodeState(n.runtime)); err != nil {
		return err
	}
	front.server.Open(n.runtime, keyStore{n.store})
	go func() {
		if err := n.runtime.Prepare(ctx); err != nil && ctx.Err() == nil {
			log.Error("the base template could not be prepared; the next create tries again", "error", err)
		}
	}()
	fmt.Fprintf(cmd.OutOrStdout(), "rundlet listening on %s\n", front.url)
	fmt.Fprintf(cmd.OutOrStdout(), "in another shell: eval \"$(%s env)\"\n", os.Args[0])
	return front.wait()
}

// parseProxies reads addresses and networks.
func parseProxies(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("trusted proxy %q must be an address or a network, as in 10.0.0.7 or 10.0.0.0/24", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// portPatience is how long a port may be taken. A daemon that was killed while it
// started a process has left the port to that process until it executes.
const portPatience = 2 * time.Second

// listenAt listens at an address, and waits a while for one that is in use.
func listenAt(ctx context.Context, address string, patience time.Duration) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ln, err := net.Listen("tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// reachable is the address by which this machine reaches a listener.
func reachable(addr *net.TCPAddr) string {
	if addr.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", addr.Port)
	}
	return addr.String()
}

func stoppedBy(ctx context.Context, sig os.Signal) bool {
	var s signalled
	return errors.As(context.Cause(ctx), &s) && s.Signal == sig
}
