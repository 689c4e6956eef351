package step

import (
	"context"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

// Tracer receives the stages of the runtime's work as spans.
// *telemetry.Telemetry is one. It is safe for concurrent use.
type Tracer interface {
	// Start begins a stage; stages begun with the context that it returns are part
	// of it. The function that it returns ends the stage: it is called once, with
	// the error of the stage or nil.
	Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(error))
}

// Recorder is how the parts of the runtime pass steps and stages. Safe for
// concurrent use.
type Recorder struct {
	// Latency takes the samples.
	Latency *latency.Recorder
	// Tracer may be nil.
	Tracer Tracer
	// Failpoint is called at each step; an error makes the step fail. It is for
	// tests, which may also end the process there. It may be nil.
	Failpoint func(Step) error
}

// At passes a step. The error is an injected failure.
func (r *Recorder) At(s Step) error {
	if r.Failpoint == nil || s == None {
		return nil
	}
	return r.Failpoint(s)
}

// Span begins a stage without a latency sample. The caller calls end once.
func (r *Recorder) Span(ctx context.Context, name string, attrs ...slog.Attr) (_ context.Context, end func(error)) {
	if r.Tracer == nil {
		return ctx, func(error) {}
	}
	return r.Tracer.Start(ctx, name, attrs...)
}

// Stage begins a stage with a latency sample, which is recorded under the
// stage's name if it ends without an error. The caller calls end once.
func (r *Recorder) Stage(ctx context.Context, name string, attrs ...slog.Attr) (_ context.Context, end func(error)) {
	begin := time.Now()
	ctx, endSpan := r.Span(ctx, name, attrs...)
	return ctx, func(err error) {
		if err == nil {
			r.Latency.Record(name, time.Since(begin))
		}
		endSpan(err)
	}
}
