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

// GetSandboxMetrics serves GET /sandboxes/{sandboxID}/metrics.
func (s *Server) GetSandboxMetrics(w http.ResponseWriter, r *http.Request, id string, p openapi.GetSandboxMetricsParams) {
	metrics, err := s.sandboxMetrics(r, id, p)
	wire := make([]openapi.SandboxMetric, 0, len(metrics))
	for _, m := range metrics {
		wire = append(wire, wireMetric(m))
	}
	s.answer(w, r, wire, err, id)
}

func (s *Server) sandboxMetrics(r *http.Request, id string, p openapi.GetSandboxMetricsParams) ([]sandbox.Metric, error) {
	start, startErr := unixTime("start", p.Start)
	end, endErr := unixTime("end", p.End)
	switch {
	case startErr != nil:
		return nil, startErr
	case endErr != nil:
		return nil, endErr
	case !start.IsZero() && !end.IsZero() && end.Before(start):
		return nil, badRequest("end is before start")
	}
	sb, err := s.get(r, id)
	if err != nil {
		return nil, err
	}
	return s.metrics(r.Context(), sb.ID, start, end)
}

func (s *Server) metrics(ctx context.Context, id string, start, end time.Time) ([]sandbox.Metric, error) {
	if m, ok := s.adapter.(MetricsReader); ok {
		return m.Metrics(ctx, id, start, end)
	}
	return nil, nil
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
func (s *Server) GetSandboxesMetrics(w http.ResponseWriter, r *http.Request, p openapi.GetSandboxesMetricsParams) {
	newest, err := s.newestMetrics(r, p.SandboxIds)
	s.answer(w, r, openapi.SandboxesWithMetrics{Sandboxes: newest}, err, "")
}

func (s *Server) newestMetrics(r *http.Request, ids []string) (map[string]openapi.SandboxMetric, error) {
	if len(ids) == 0 || len(ids) > maxLimit {
		return nil, badRequest("sandbox_ids must name from 1 to %d sandboxes", maxLimit)
	}
	newest := make(map[string]openapi.SandboxMetric, len(ids))
	reader, ok := s.adapter.(MetricsReader)
	for _, id := range ids {
		id, err := parseID(id)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		metric, there, err := reader.NewestMetric(r.Context(), id)
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
func (s *Server) GetSandboxLogs(w http.ResponseWriter, r *http.Request, id string) {
	_, err := s.get(r, id)
	s.answer(w, r, openapi.SandboxLogs{Logs: []map[string]any{}, LogEntries: []map[string]any{}}, err, id)
}

// GetSandboxLogsV2 serves the second.
func (s *Server) GetSandboxLogsV2(w http.ResponseWriter, r *http.Request, id string) {
	_, err := s.get(r, id)
	s.answer(w, r, openapi.SandboxLogsV2{Logs: []map[string]any{}}, err, id)
}
