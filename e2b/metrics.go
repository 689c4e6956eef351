package e2b

import (
	"context"
	"net/http"
	"time"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/sandbox"
)

// MetricsReader is implemented by an adapter that measures. Without it, lists of
// measurements are empty.
type MetricsReader interface {
	// Metrics returns the measurements in [start, end], oldest first; a zero
	// bound is none.
	Metrics(ctx context.Context, id string, start, end time.Time) ([]sandbox.Metric, error)
	// NewestMetric returns the last of them, and whether there is one.
	NewestMetric(ctx context.Context, id string) (sandbox.Metric, bool, error)
}

// noMetrics is the MetricsReader of an adapter that does not measure.
type noMetrics struct{}

func (noMetrics) Metrics(context.Context, string, time.Time, time.Time) ([]sandbox.Metric, error) {
	return nil, nil
}

func (noMetrics) NewestMetric(context.Context, string) (sandbox.Metric, bool, error) {
	return sandbox.Metric{}, false, nil
}

// metricsOf is the reader of an adapter.
func metricsOf(adapter RuntimeAdapter) MetricsReader {
	if m, ok := adapter.(MetricsReader); ok {
		return m
	}
	return noMetrics{}
}

// GetSandboxMetrics serves GET /sandboxes/{sandboxID}/metrics.
func (o *operations) GetSandboxMetrics(w http.ResponseWriter, r *http.Request, id string, p openapi.GetSandboxMetricsParams) {
	start, end, err := interval(p)
	var sb sandbox.Sandbox
	if err == nil {
		sb, err = o.get(r, id)
	}
	var metrics []sandbox.Metric
	if err == nil {
		metrics, err = o.metrics.Metrics(r.Context(), sb.ID, start, end)
	}
	wire := make([]openapi.SandboxMetric, 0, len(metrics))
	for _, m := range metrics {
		wire = append(wire, wireMetric(m))
	}
	o.reply.answer(w, r, wire, err, id)
}

// interval is the time that a request is about; a zero bound is none.
func interval(p openapi.GetSandboxMetricsParams) (start, end time.Time, err error) {
	if start, err = unixTime("start", p.Start); err != nil {
		return start, end, err
	}
	if end, err = unixTime("end", p.End); err != nil {
		return start, end, err
	}
	if !start.IsZero() && !end.IsZero() && end.Before(start) {
		err = badRequest("end is before start")
	}
	return start, end, err
}

// unixTime reads seconds; the bound is the year 9999, the last that JSON times have.
func unixTime(name string, seconds *int64) (time.Time, error) {
	if seconds == nil {
		return time.Time{}, nil
	}
	if *seconds < 0 || *seconds > 253402300799 {
		return time.Time{}, badRequest("%s is out of range", name)
	}
	return time.Unix(*seconds, 0), nil
}

// GetSandboxesMetrics serves GET /sandboxes/metrics: the newest of each.
func (o *operations) GetSandboxesMetrics(w http.ResponseWriter, r *http.Request, p openapi.GetSandboxesMetricsParams) {
	newest, err := newestMetrics(r.Context(), o.metrics, p.SandboxIds)
	o.reply.answer(w, r, openapi.SandboxesWithMetrics{Sandboxes: newest}, err, "")
}

func newestMetrics(ctx context.Context, reader MetricsReader, ids []string) (map[string]openapi.SandboxMetric, error) {
	if len(ids) == 0 || len(ids) > maxLimit {
		return nil, badRequest("sandbox_ids must name from 1 to %d sandboxes", maxLimit)
	}
	newest := make(map[string]openapi.SandboxMetric, len(ids))
	for _, id := range ids {
		id, err := parseID(id)
		if err != nil {
			return nil, err
		}
		metric, there, err := reader.NewestMetric(ctx, id)
		if err != nil && classify(err, id).Status != http.StatusNotFound {
			return nil, err
		}
		if there {
			newest[id] = wireMetric(metric)
		}
	}
	return newest, nil
}

// GetSandboxLogs serves the first generation of logs. None are kept yet.
func (o *operations) GetSandboxLogs(w http.ResponseWriter, r *http.Request, id string) {
	_, err := o.get(r, id)
	o.reply.answer(w, r, openapi.SandboxLogs{Logs: []map[string]any{}, LogEntries: []map[string]any{}}, err, id)
}

// GetSandboxLogsV2 serves the second.
func (o *operations) GetSandboxLogsV2(w http.ResponseWriter, r *http.Request, id string) {
	_, err := o.get(r, id)
	o.reply.answer(w, r, openapi.SandboxLogsV2{Logs: []map[string]any{}}, err, id)
}
