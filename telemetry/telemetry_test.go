package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/rundlet/rundlet/policy/latency"
)

// untraced is a Telemetry without a span collector.
func untraced(t testing.TB) *Telemetry {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	tel, err := New(t.Context(), Config{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

// scrape returns the metrics without those of the Go run-time and the process.
func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	var ours []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "rundlet_") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

// value returns what a scrape says of a series; "" if it is not there.
func value(text, series string) string {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (.*)$`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

func expect(t *testing.T, text string, want map[string]string) {
	t.Helper()
	for series, v := range want {
		if got := value(text, series); got != v {
			t.Errorf("%s is %q, want %q", series, got, v)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestStageIsRecordedOnlyOnSuccess(t *testing.T) {
	tel := untraced(t)
	for _, err := range []error{nil, errors.New("no"), nil, context.Canceled} {
		ctx, done := tel.Stage(t.Context(), latency.WarmSnapshotRestore)
		if ctx != t.Context() {
			t.Error("the context changed, but spans are not collected")
		}
		done(err)
	}
	if got := tel.Recorder().Summaries(); len(got) != 1 || got[0].Name != latency.WarmSnapshotRestore || got[0].Count != 2 {
		t.Errorf("recorded %+v", got)
	}
	expect(t, scrape(t, tel), map[string]string{`rundlet_stage_seconds_count{stage="warm_snapshot_restore"}`: "2"})
}

func TestRecorderFeedsTheHistogram(t *testing.T) {
	tel := untraced(t)
	tel.Recorder().Record(latency.KillDelete, 40*time.Millisecond)
	tel.Recorder().Record(latency.ResumeToFirstStdoutAlias, 35*time.Millisecond)
	tel.Record(latency.KillDelete, 5*time.Minute)
	text := scrape(t, tel)
	expect(t, text, map[string]string{
		`rundlet_stage_seconds_bucket{stage="kill_delete",le="0.035"}`: "0",
		`rundlet_stage_seconds_bucket{stage="kill_delete",le="0.05"}`:  "1",
		`rundlet_stage_seconds_bucket{stage="kill_delete",le="120"}`:   "1",
		`rundlet_stage_seconds_bucket{stage="kill_delete",le="+Inf"}`:  "2",
		`rundlet_stage_seconds_sum{stage="kill_delete"}`:               "300.04",
		// Equal is within, and an alias goes under the first name.
		`rundlet_stage_seconds_bucket{stage="sandbox.start.resume_snapshot_to_first_stdout_ms",le="0.035"}`: "1",
		`rundlet_build_info{version="v1"}`: "1",
	})
	if strings.Contains(text, latency.ResumeToFirstStdoutAlias) {
		t.Error("the alias has a separate series")
	}
}

func TestUnknownStagesShareASeries(t *testing.T) {
	tel := untraced(t)
	for _, name := range []string{"a", "b\xff", "c\"}\n", strings.Repeat("d", 1<<20)} {
		tel.Recorder().Record(name, time.Second)
	}
	expect(t, scrape(t, tel), map[string]string{`rundlet_stage_seconds_count{stage="other"}`: "4"})
}

func TestBucketsReachFrom100MicrosecondsTo2Minutes(t *testing.T) {
	if !slices.IsSorted(buckets) || buckets[0] != 0.0001 || buckets[len(buckets)-1] != 120 {
		t.Errorf("%v", buckets)
	}
	for _, slo := range latency.LifecycleSLOs() {
		for _, limit := range []float64{slo.P50Max, slo.P95Max} {
			if !slices.Contains(buckets, limit/1000) {
				t.Errorf("no bucket ends at the limit of %s, %v ms", slo.Metric, limit)
			}
		}
	}
}

func TestMetricsFollowTheNamingPractice(t *testing.T) {
	tel := untraced(t)
	if err := tel.RegisterState(func(context.Context) (State, error) { return full(), nil }); err != nil {
		t.Fatal(err)
	}
	tel.Record(latency.KillDelete, time.Second)
	problems, err := promlint.New(strings.NewReader(scrape(t, tel))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestTwoOfThemShareNothing(t *testing.T) {
	a, b := untraced(t), untraced(t)
	a.Record(latency.KillDelete, time.Second)
	if text := scrape(t, b); strings.Contains(text, "kill_delete") {
		t.Error(text)
	}
}

func TestNilTakesEverything(t *testing.T) {
	var tel *Telemetry
	ctx, done := tel.Start(t.Context(), "create")
	done(errors.New("no"))
	_, done = tel.Stage(ctx, latency.ReadyProbe)
	done(nil)
	tel.Record(latency.ReadyProbe, 1)
	if ctx != t.Context() || tel.Recorder() != nil || tel.RegisterState(nil) != nil || tel.Shutdown(ctx) != nil {
		t.Error("it kept something")
	}
}
