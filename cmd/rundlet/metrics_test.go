package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/substrate/latency"
)

// listOf is a runtime with these sandboxes, or an error.
type listOf struct {
	states []runtime.State
	err    error
}

func (l listOf) List(_ context.Context, f runtime.ListFilter) (out []runtime.Sandbox, err error) {
	for _, s := range l.states {
		if slices.Contains(f.States, s) {
			out = append(out, runtime.Sandbox{State: s})
		}
	}
	return out, l.err
}

func TestNodeStateCountsSandboxes(t *testing.T) {
	got, err := nodeState(listOf{states: []runtime.State{"running", "running", "paused", "killing", "killed"}})(t.Context())
	if err != nil || len(got.Sandboxes) != 3 || got.Sandboxes["running"] != 2 || got.Sandboxes["paused"] != 1 || got.Sandboxes["killing"] != 1 {
		t.Errorf("%v, %v", got.Sandboxes, err)
	}
	if got.Capacity != nil || got.Queue != nil {
		t.Error("what is not known is stated")
	}
	locked := errors.New("locked")
	if _, err := nodeState(listOf{err: locked})(t.Context()); !errors.Is(err, locked) {
		t.Errorf("%v", err)
	}
}

func TestMetricsListenerServesTheSamplesOfTheRuntime(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	tel, end, err := openTelemetry(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if err := tel.RegisterState(nodeState(listOf{states: []runtime.State{"running"}})); err != nil {
		t.Fatal(err)
	}
	tel.Recorder().Record(latency.KillDelete, time.Second)

	var log strings.Builder
	stop, err := serveMetrics("127.0.0.1:0", tel.Handler(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(log.String(), "url=")
	url := strings.TrimSpace(rest)
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`rundlet_stage_seconds_count{stage="kill_delete"} 1`, `rundlet_sandboxes{state="running"} 1`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in:\n%s", want, b)
		}
	}
	if resp, err := http.Get(strings.TrimSuffix(url, "/metrics")); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %v, %v", resp, err)
	}
	stop()
	if conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics")); err == nil {
		conn.Close()
		t.Error("it listens after it was stopped")
	}
}

func TestMetricsWithoutAKeyAreForThisMachine(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.168.1.1:9090", "nothing"} {
		if stop, err := serveMetrics(address, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
			stop()
			t.Errorf("%s is served", address)
		}
	}
	stop, err := serveMetrics("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop()
}

func TestServeRefusesAnEndpointThatIsNoURL(t *testing.T) {
	home(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")
	if _, err := cli(t, "serve", "--listen", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT") {
		t.Errorf("%v", err)
	}
}
