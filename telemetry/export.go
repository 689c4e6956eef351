package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/rundlet/rundlet"

// spans is the way of a span from its end to the collector.
type spans struct {
	tracer    trace.Tracer
	processor sdktrace.SpanProcessor
	exporter  *exporter
}

func newSpans(ctx context.Context, cfg Config, to sdktrace.SpanExporter) (*spans, error) {
	// The environment comes last: OTEL_SERVICE_NAME wins.
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", cfg.Namespace), attribute.String("service.version", text(cfg.Version))),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	e := &exporter{SpanExporter: to, log: cfg.Log, life: life, end: end, closed: make(chan struct{})}
	processor := sdktrace.NewBatchSpanProcessor(e)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(processor), sdktrace.WithResource(about))
	return &spans{provider.Tracer(scope), processor, e}, nil
}

// shutdown asks the processor and not its provider, which does nothing at all
// if ctx has ended.
func (s *spans) shutdown(ctx context.Context) error {
	err := s.processor.Shutdown(ctx)
	// The processor stops waiting when ctx ends, but keeps sending.
	s.exporter.end()
	<-s.exporter.closed
	return err
}

// exporter is a SpanExporter that ends with its life, whatever it is at, and
// that logs its failures: the SDK would write them to a global logger.
type exporter struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
	life    context.Context
	end     context.CancelFunc
	closed  chan struct{}
}

func (e *exporter) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	err := e.SpanExporter.ExportSpans(ctx, batch)
	// Once for each time that the collector is lost and found again.
	switch {
	case err != nil && !e.failing.Swap(true):
		e.log.Warn("span export failing; dropping spans", "error", err)
	case err == nil && e.failing.Swap(false):
		e.log.Info("span export working again")
	}
	return nil
}

// Shutdown is called by the processor after its last export.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.closed)
	return e.SpanExporter.Shutdown(ctx)
}

// newExporter returns what the environment asks for: nil if it asks for nothing.
func newExporter(ctx context.Context, cfg Config) (sdktrace.SpanExporter, error) {
	endpoint, ok := fromEnv("ENDPOINT")
	if !ok || os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	// The library takes a malformed one for its default.
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL")
	}
	for _, name := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY", "TIMEOUT"} {
		if _, ok := fromEnv(name); ok {
			// Only the library's own client heeds these.
			return otlptracehttp.New(ctx)
		}
	}
	// The library's own client keeps connections after Shutdown.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute}
	client := &http.Client{Transport: transport, Timeout: exportTimeout}
	e, err := otlptracehttp.New(ctx, otlptracehttp.WithHTTPClient(client))
	return closing{e, client}, err
}

// exportTimeout is the protocol's default.
const exportTimeout = 10 * time.Second

// fromEnv reads a variable of the OTLP exporter; the one for traces wins.
func fromEnv(name string) (string, bool) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"} {
		if v := os.Getenv(prefix + name); v != "" {
			return v, true
		}
	}
	return "", false
}

// closing closes the connections of its client in the end.
type closing struct {
	sdktrace.SpanExporter
	client *http.Client
}

func (c closing) Shutdown(ctx context.Context) error {
	defer c.client.CloseIdleConnections()
	return c.SpanExporter.Shutdown(ctx)
}
