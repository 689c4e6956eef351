package runtime

import (
	"context"
	"log/slog"
	"time"
)

// Tracer is told of the stages of the runtime's work. *telemetry.Telemetry is
// one. It is safe for concurrent use.
type Tracer interface {
	// Start begins a stage; what begins with the context that it returns is part
	// of it. The function that it returns ends it, and is called once, with the
	// error that it failed with or nil.
	Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(error))
}

// noTracer is the Tracer of a runtime that was given none.
type noTracer struct{}

func (noTracer) Start(ctx context.Context, _ string, _ ...slog.Attr) (context.Context, func(error)) {
	return ctx, func(error) {}
}

// stage begins a stage that has a latency sample: it is recorded, under the
// name, if the stage ends without an error.
func (r *Runtime) stage(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(error)) {
	begin := time.Now()
	ctx, end := r.cfg.Tracer.Start(ctx, name, attrs...)
	return ctx, func(err error) {
		if err == nil {
			r.cfg.Latency.Record(name, time.Since(begin))
		}
		end(err)
	}
}
