package control

import (
	"context"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/wire"
	"github.com/rundlet/rundlet/sandbox"
)

// MetricsReader is implemented by a runtime that measures. Without it, lists of
// measurements are empty.
type MetricsReader interface {
	// Metrics returns the measurements in [start, end], oldest first; a zero
	// time does not bound them.
	Metrics(ctx context.Context, id string, start, end time.Time) ([]sandbox.Metric, error)
	// NewestMetric returns the last of them, and whether there is one.
	NewestMetric(ctx context.Context, id string) (sandbox.Metric, bool, error)
}

// noMetrics is the MetricsReader of a runtime that does not measure.
type noMetrics struct{}

func (noMetrics) Metrics(context.Context, string, time.Time, time.Time) ([]sandbox.Metric, error) {
	return nil, nil
}

func (noMetrics) NewestMetric(context.Context, string) (sandbox.Metric, bool, error) {
	return sandbox.Metric{}, false, nil
}

// metricsOf is the reader of a runtime.
func metricsOf(runtime Runtime) MetricsReader {
	if m, ok := runtime.(MetricsReader); ok {
		return m
	}
	return noMetrics{}
}

// GetSandboxMetrics serves GET /sandboxes/{sandboxID}/metrics.
func (o *operations) GetSandboxMetrics(w http.ResponseWriter, r *http.Request, id string, p openapi.GetSandboxMetricsParams) {
	start, end, err := wire.Interval(p)
	var sb sandbox.Sandbox
	if err == nil {
		sb, err = o.get(r, id)
	}
	var metrics []sandbox.Metric
	if err == nil {
		metrics, err = o.metrics.Metrics(r.Context(), sb.ID, start, end)
	}
	o.reply.Answer(w, r, wire.Metrics(metrics), err, id)
}

// GetSandboxesMetrics serves GET /sandboxes/metrics: the newest of each.
func (o *operations) GetSandboxesMetrics(w http.ResponseWriter, r *http.Request, p openapi.GetSandboxesMetricsParams) {
	newest, err := newestMetrics(r.Context(), o.metrics, p.SandboxIds)
	o.reply.Answer(w, r, openapi.SandboxesWithMetrics{Sandboxes: newest}, err, "")
}

func newestMetrics(ctx context.Context, reader MetricsReader, ids []string) (map[string]openapi.SandboxMetric, error) {
	if len(ids) == 0 || len(ids) > wire.MaxLimit {
		return nil, refusal.Invalidf("sandbox_ids must name from 1 to %d sandboxes", wire.MaxLimit)
	}
	newest := make(map[string]openapi.SandboxMetric, len(ids))
	for _, id := range ids {
		id, err := wire.ParseID(id)
		if err != nil {
			return nil, err
		}
		metric, there, err := reader.NewestMetric(ctx, id)
		if err != nil && refusal.Of(err, id).Status != http.StatusNotFound {
			return nil, err
		}
		if there {
			newest[id] = wire.Metric(metric)
		}
	}
	return newest, nil
}

// GetSandboxLogs serves the first generation of logs. None are kept yet.
func (o *operations) GetSandboxLogs(w http.ResponseWriter, r *http.Request, id string) {
	_, err := o.get(r, id)
	o.reply.Answer(w, r, openapi.SandboxLogs{Logs: []map[string]any{}, LogEntries: []map[string]any{}}, err, id)
}

// GetSandboxLogsV2 serves the second.
func (o *operations) GetSandboxLogsV2(w http.ResponseWriter, r *http.Request, id string) {
	_, err := o.get(r, id)
	o.reply.Answer(w, r, openapi.SandboxLogsV2{Logs: []map[string]any{}}, err, id)
}
