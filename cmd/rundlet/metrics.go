package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/telemetry"
)

// shutdownSpans is how long the end of the daemon waits for its last spans.
const shutdownSpans = 5 * time.Second

// openTelemetry returns the telemetry of a daemon, and what ends it.
func openTelemetry(ctx context.Context, log *slog.Logger) (*telemetry.Telemetry, func(), error) {
	tel, err := telemetry.New(ctx, telemetry.Config{Version: version, Log: log})
	if err != nil {
		return nil, nil, err
	}
	return tel, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownSpans)
		defer cancel()
		// A collector that is away is no failure of the daemon.
		if err := tel.Shutdown(ctx); err != nil {
			log.Warn("telemetry", "error", err)
		}
	}, nil
}

// figurer is what the metrics need of a runtime.
type figurer interface {
	Figures(ctx context.Context) (runtime.Figures, error)
}

// nodeState is what the node's metrics show.
func nodeState(rt figurer) func(context.Context) (telemetry.State, error) {
	return func(ctx context.Context) (telemetry.State, error) {
		f, err := rt.Figures(ctx)
		if err != nil {
			return telemetry.State{}, err
		}
		s := telemetry.State{
			Sandboxes: map[sandbox.State]int{}, Capacity: capacityState(f.Capacity), WarmPools: map[string]telemetry.WarmPool{},
			Kills: map[string]uint64{}, Snapshots: map[string]telemetry.Snapshots{},
			Queue: &telemetry.Queue{
				Pending: f.Queue.Pending, Admitted: f.Queue.Admitted, Yielded: f.Queue.Yielded,
				Refused: map[string]uint64{
					"oversized": f.Queue.Oversized, "queue_full": f.Queue.Full, "pressure": f.Queue.Refused,
					"deadline": f.GaveUp, "canceled": f.Queue.Cancelled - f.GaveUp, "disk": f.DiskFull,
				},
			},
			Recovery: &telemetry.Recovery{Stuck: f.Stuck, Silent: f.Supervision.Silent, Unrecovered: len(f.Supervision.Unrecovered), SetAside: f.SetAside, Reconciled: reconciled(f)},
			Pressure: &telemetry.Pressure{
				State: f.Pressure.State.String(), Refusing: f.Pressure.Refusing != "", Entered: map[string]uint64{},
			},
			Lacking: map[string]bool{}, NetworkRepairs: f.Repairs,
		}
		for _, what := range runtime.AllLacks {
			s.Lacking[what] = slices.Contains(f.Lacking, what)
		}
		for state, n := range f.Pressure.Entered {
			s.Pressure.Entered[state.String()] = n
		}
		for state, n := range f.Sandboxes {
			s.Sandboxes[state] = n
		}
		for reason, n := range f.Kills {
			s.Kills[telemetry.ReasonClass(reason)] += n
		}
		for kind, n := range f.Snapshots {
			s.Snapshots[kind] = telemetry.Snapshots(n)
		}
		for _, p := range f.WarmPools {
			s.WarmPools[p.Template] = telemetry.WarmPool{
				Ready: p.Ready, Prepared: p.Prepared, Target: p.Target.Ready, InFlight: p.InFlight,
				Hits: p.Hits, Misses: p.Misses, Failures: p.Failures,
				OldestAge: p.Oldest, Refills: p.Refills, RefillTotal: p.RefillTime,
			}
		}
		return s, nil
	}
}

// reconciled counts what was not in order, at the start and since.
func reconciled(f runtime.Figures) map[string]uint64 {
	out := map[string]uint64{
		"recover": uint64(f.Reconciled.Recovered), "cleanup": uint64(f.Reconciled.CleanedUp),
		"quarantine": uint64(f.Reconciled.Quarantined), "failed": uint64(f.Reconciled.Failed),
	}
	for action, n := range f.Supervision.Settled {
		out[string(reconcile.Action(action).Class())] += n
	}
	for _, n := range f.Supervision.Freed {
		out[string(reconcile.ClassCleanup)] += n
	}
	return out
}

// capacityState is the ledger in the units that metrics have.
func capacityState(u capacity.Usage) *telemetry.Capacity {
	usage := func(unit float64, of func(capacity.Budget) int64) telemetry.Usage {
		amount := func(b capacity.Budget) float64 { return float64(of(b)) / unit }
		return telemetry.Usage{Active: amount(u.Active), Warm: amount(u.Warm), Limit: amount(u.Capacity), Total: amount(u.Capacity)}
	}
	return &telemetry.Capacity{
		CPUs:        usage(1000, func(b capacity.Budget) int64 { return b.CPUs }),
		MemoryBytes: usage(1, func(b capacity.Budget) int64 { return b.MemoryBytes }),
		DiskBytes:   usage(1, func(b capacity.Budget) int64 { return b.DiskBytes }),
		Sandboxes:   usage(1, func(b capacity.Budget) int64 { return b.Sandboxes }),
		Launches:    usage(1, func(b capacity.Budget) int64 { return b.Launches }),
	}
}

// metricsConnections bounds those that read the metrics at the same time; more
// wait. An idle one is closed after some seconds.
const metricsConnections = 8

// serveMetrics serves the metrics without a key, to this machine only, until
// stop is called. It does nothing if there is no address.
func serveMetrics(address string, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	ln, err := listenLoopback(address)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen: %w", err)
	}
	ln = netutil.LimitListener(ln, metricsConnections)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	srv := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the metrics are not served any more", "address", address, "error", err)
		}
	}()
	log.Info("metrics are served without a key", "url", "http://"+ln.Addr().String()+"/metrics")
	return func() { srv.Close(); <-done }, nil
}

// listenLoopback refuses addresses that others can reach.
func listenLoopback(address string) (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("%s can be reached from other machines and needs no key; use a loopback address, or GET /metrics of the API with a key", address)
	}
	return net.ListenTCP("tcp", addr)
}
