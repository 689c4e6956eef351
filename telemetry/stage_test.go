package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

func TestStageMeasuresFromItsBeginningToItsEnd(t *testing.T) {
	tel := untraced(t)
	synctest.Test(t, func(t *testing.T) {
		_, done := tel.Stage(t.Context(), latency.ReadyProbe)
		time.Sleep(1234 * time.Microsecond)
		done(nil)
		time.Sleep(time.Second)
		if got := tel.Recorder().Summaries()[0].Max; got != 1234*time.Microsecond {
			t.Errorf("measured %v", got)
		}
	})
}

var errStage = errors.New("no")

// use is what a caller does for each stage.
func use(ctx context.Context, tel *Telemetry, id string) {
	_, end := tel.Start(ctx, "create", slog.String("sandbox", id), slog.Int("vcpus", 2))
	end(errStage)
}

func TestSpansCostNothingWithoutACollector(t *testing.T) {
	for name, tel := range map[string]*Telemetry{"nil": nil, "no collector": untraced(t)} {
		if n := testing.AllocsPerRun(100, func() { use(t.Context(), tel, "i1") }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkStartNil(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		use(b.Context(), nil, "i1")
	}
}

func BenchmarkStartWithoutCollector(b *testing.B) {
	tel := untraced(b)
	b.ReportAllocs()
	for b.Loop() {
		use(b.Context(), tel, "i1")
	}
}

func BenchmarkStageWithoutCollector(b *testing.B) {
	tel := untraced(b)
	b.ReportAllocs()
	for b.Loop() {
		_, done := tel.Stage(b.Context(), latency.ReadyProbe)
		done(nil)
	}
}

func BenchmarkStartWithCollector(b *testing.B) {
	tel := traced(b, &memory{})
	defer tel.Shutdown(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		use(b.Context(), tel, "i1")
	}
}
