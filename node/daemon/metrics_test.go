package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/telemetry"
)

func TestMetricsListenerServesTheSamplesOfTheRuntime(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	tel, end, err := openTelemetry(t.Context(), "dev", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if err := tel.RegisterState(func(context.Context) (telemetry.State, error) {
		return telemetry.State{Sandboxes: map[sandbox.State]int{sandbox.StateRunning: 2}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	tel.Recorder().Record(latency.KillDelete, time.Second)

	var log strings.Builder
	stop, err := serveMetrics(t.Context(), &net.ListenConfig{}, "127.0.0.1:0", tel.Handler(), slog.New(slog.NewTextHandler(&log, nil)))
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
	for _, want := range []string{`rundlet_stage_seconds_count{stage="kill_delete"} 1`, `rundlet_sandboxes{state="running"} 2`} {
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
		if stop, err := serveMetrics(t.Context(), &net.ListenConfig{}, address, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
			stop()
			t.Errorf("%s is served", address)
		}
	}
	stop, err := serveMetrics(t.Context(), &net.ListenConfig{}, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop()
}
