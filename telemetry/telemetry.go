// Package telemetry shows operators what the node does: Prometheus metrics,
// pulled over HTTP, and OpenTelemetry spans, pushed where the standard
// environment variables say. It holds no global state. It may import
// policy/latency, the Prometheus client and the OpenTelemetry SDK; only cmd
// may import it, and the runtime knows it by an interface that it defines.
package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rundlet/rundlet/policy/latency"
)

// Config is the configuration of a Telemetry. The zero value is usable.
type Config struct {
	// Namespace begins the name of every metric, and names the service of
	// spans; "rundlet" if empty.
	Namespace string
	// Version of the program, shown with both.
	Version string
	// Log defaults to none.
	Log *slog.Logger
}

// Telemetry is where the stages of the node's work are reported. A nil one
// takes everything and keeps nothing. It is safe for concurrent use.
type Telemetry struct {
	cfg      Config
	registry *prometheus.Registry
	stages   *prometheus.HistogramVec
	recorder latency.Recorder
	spans    *spans // nil: spans are not collected
}

// New returns a Telemetry. Spans are collected if OTEL_EXPORTER_OTLP_ENDPOINT
// or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, which has to be a URL; the
// caller must call Shutdown in the end.
func New(ctx context.Context, cfg Config) (*Telemetry, error) {
	if cfg.Namespace == "" {
		cfg.Namespace = "rundlet"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Telemetry{cfg: cfg, registry: prometheus.NewRegistry()}
	exporter, err := newExporter(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("export spans: %w", err)
	}
	if exporter != nil {
		if t.spans, err = newSpans(ctx, cfg, exporter); err != nil {
			return nil, fmt.Errorf("export spans: %w", err)
		}
	}
	t.stages = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: cfg.Namespace, Name: "stage_seconds", Buckets: buckets,
		Help: "Duration of successful sandbox lifecycle stages.",
	}, []string{"stage"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: cfg.Namespace, Name: "build_info", Help: "Always 1; the version is in the label.",
		ConstLabels: prometheus.Labels{"version": text(cfg.Version)},
	})
	build.Set(1)
	t.registry.MustRegister(t.stages, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t.recorder.Sink = t.Record
	return t, nil
}

// buckets are the upper ends of the histogram's, in seconds, 0.1 ms to 2 min.
// The limit of every objective in that range is one of them, so that a query
// shows exactly how many samples met it.
var buckets = []float64{
	.0001, .00025, .0005, .001, .002, .005, .01, .015, .02, .025, .035, .05, .075, .1, .15, .25, .35, .5,
	1, 2, 3, 5, 10, 30, 60, 120,
}

// Record puts a duration into the histogram of its stage. Recorder and Stage
// call it; call it for what is in neither.
func (t *Telemetry) Record(stage string, d time.Duration) {
	if t != nil {
		t.stages.WithLabelValues(stageLabel(stage)).Observe(d.Seconds())
	}
}

// Recorder returns where Stage keeps its samples. What others record in it
// reaches the histograms too. A nil Telemetry has none.
func (t *Telemetry) Recorder() *latency.Recorder {
	if t == nil {
		return nil
	}
	return &t.recorder
}

// scrapes is how many scrapes are served at a time; more are refused.
const scrapes = 4

// Handler serves the metrics. What cannot be read is logged and left out.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(t.cfg.Log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapes,
	})
}

// Shutdown sends the spans that have ended and stops. When it returns, which is
// soon after the end of ctx at the latest, nothing runs any more. Only the first
// call does something.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t == nil || t.spans == nil {
		return nil
	}
	if err := t.spans.shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}
