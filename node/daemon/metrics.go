package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/rundlet/rundlet/node/names"
	"github.com/rundlet/rundlet/telemetry"
)

// shutdownSpans is how long the end of the daemon waits for its last spans.
const shutdownSpans = 5 * time.Second

// openTelemetry returns the telemetry of a daemon, and the function that ends it.
func openTelemetry(ctx context.Context, version string, log *slog.Logger) (*telemetry.Telemetry, func(), error) {
	tel, err := telemetry.New(ctx, telemetry.Config{Version: version, Log: log})
	if err != nil {
		return nil, nil, err
	}
	return tel, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownSpans)
		defer cancel()
		// An unreachable collector is not a failure of the daemon.
		if err := tel.Shutdown(ctx); err != nil {
			log.Warn("telemetry", "error", err)
		}
	}, nil
}

// metricsConnections bounds those that read the metrics at the same time; more
// wait. An idle one is closed after some seconds.
const metricsConnections = 8

// serveMetrics serves the metrics without a key, to this machine only, until
// stop is called. It does nothing if there is no address.
func serveMetrics(ctx context.Context, sockets names.Sockets, address string, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	ln, err := listenLoopback(ctx, sockets, address)
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
			log.Error("metrics listener stopped", "address", address, "error", err)
		}
	}()
	log.Info("serving metrics without an API key", "url", "http://"+ln.Addr().String()+"/metrics")
	return func() { srv.Close(); <-done }, nil
}

// listenLoopback refuses addresses that others can reach.
func listenLoopback(ctx context.Context, sockets names.Sockets, address string) (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is reachable from other hosts without an API key: use a loopback address, or GET /metrics of the API with a key", address)
	}
	return sockets.Listen(ctx, "tcp", addr.String())
}
