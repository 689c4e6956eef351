package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/runtime"
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

// lister is what the metrics need of a runtime.
type lister interface {
	List(ctx context.Context, f runtime.ListFilter) ([]runtime.Sandbox, error)
}

// nodeState is what the node's metrics show.
func nodeState(rt lister) func(context.Context) (telemetry.State, error) {
	unkilled := []runtime.State{
		runtime.StateCreating, runtime.StateRunning, runtime.StatePausing, runtime.StatePaused,
		runtime.StateResuming, runtime.StateKilling,
	}
	return func(ctx context.Context) (telemetry.State, error) {
		all, err := rt.List(ctx, runtime.ListFilter{States: unkilled})
		if err != nil {
			return telemetry.State{}, err
		}
		s := telemetry.State{Sandboxes: map[string]int{}}
		for _, sb := range all {
			s.Sandboxes[string(sb.State)]++
		}
		return s, nil
	}
}

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
