package e2b

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/runtime"
)

// measuring is a runtime with a measurement each 5 s from the epoch on.
type measuring struct{ *fakeruntime.Runtime }

func (m measuring) Metrics(ctx context.Context, id string, start, end time.Time) ([]runtime.Metric, error) {
	if _, err := m.Get(ctx, id); err != nil {
		return nil, err
	}
	var found []runtime.Metric
	for i := range 4 {
		at := fakeruntime.Epoch.Add(time.Duration(i) * 5 * time.Second)
		if !at.Before(start) && (end.IsZero() || !at.After(end)) {
			found = append(found, runtime.Metric{Time: at, CPUUsedPct: 12.5, CPUCount: 2, MemUsed: 1, MemTotal: 2, MemCache: 3, DiskUsed: 4, DiskTotal: 5})
		}
	}
	return found, nil
}

func TestMetrics(t *testing.T) {
	rt := &fakeruntime.Runtime{}
	var keys MemoryKeys
	_, key, _ := keys.Create(t.Context(), "")
	s := NewServer(Config{}, measuring{rt}, &keys)
	defer s.Close()
	get := func(path string) reply {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("X-API-Key", key)
		s.ServeHTTP(w, r)
		return reply{w.Code, w.Header(), w.Body.String()}
	}
	sb, err := rt.Create(t.Context(), runtime.CreateRequest{Template: "base", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	// The epoch is 1767323045 and 6 ms, so a bound of that second excludes it.
	const metric = `{"cpuCount":2,"cpuUsedPct":12.5,"diskTotal":5,"diskUsed":4,"memCache":3,"memTotal":2,"memUsed":1,"timestamp":"2026-01-02T03:04:10.006Z","timestampUnix":1767323050}`
	if r := get("/sandboxes/" + sb.ID + "/metrics?start=1767323050&end=1767323051"); r.body != "["+metric+"]" {
		t.Errorf("one: %d %s", r.code, r.body)
	}
	if r := get("/sandboxes/" + sb.ID + "/metrics"); strings.Count(r.body, "timestampUnix") != 4 {
		t.Errorf("all: %d %s", r.code, r.body)
	}
	if r := get("/sandboxes/" + sb.ID + "/metrics?end=1"); r.body != "[]" {
		t.Errorf("none: %d %s", r.code, r.body)
	}
	if r := get("/sandboxes/metrics?sandbox_ids=" + sb.ID + ",unknown"); r.code != http.StatusOK ||
		strings.Count(r.body, "timestampUnix") != 1 || !strings.HasPrefix(r.body, `{"sandboxes":{"`+sb.ID+`":{`) {
		t.Errorf("newest: %d %s", r.code, r.body)
	}
	get("/sandboxes/unknown/metrics").wantError(t, 404, "unknown")
	for _, query := range []string{"start=-1", "start=x", "end=99999999999999999999", "end=999999999999999", "start=2&end=1"} {
		get("/sandboxes/"+sb.ID+"/metrics?"+query).wantError(t, 400, "")
	}
	get("/sandboxes/metrics").wantError(t, 400, "sandbox_ids")
	get("/sandboxes/metrics?sandbox_ids=A").wantError(t, 400, "Invalid sandbox ID")
	get("/sandboxes/metrics?sandbox_ids="+strings.Repeat("a,", 100)+"a").wantError(t, 400, "100")
}

func TestNoMetricsAndNoLogs(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	for path, want := range map[string]string{
		"/sandboxes/" + id + "/metrics":        `[]`,
		"/sandboxes/metrics?sandbox_ids=" + id: `{"sandboxes":{}}`,
		"/sandboxes/" + id + "/logs":           `{"logEntries":[],"logs":[]}`,
		"/v2/sandboxes/" + id + "/logs":        `{"logs":[]}`,
	} {
		if r := n.do("GET", path, ""); r.code != http.StatusOK || r.body != want {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
	n.do("GET", "/sandboxes/unknown/logs", "").wantError(t, 404, "unknown")
	n.do("GET", "/v2/sandboxes/unknown/logs", "").wantError(t, 404, "unknown")
}
