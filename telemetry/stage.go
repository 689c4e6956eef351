package telemetry

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

func nothing(error) {}

// Start begins a span. What is begun with the context that it returns is part of
// it. The function it returns ends it, and must be called once, with the error
// that it failed with or nil. Without a collector it costs nothing.
func (t *Telemetry) Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(error)) {
	if t == nil || t.spans == nil {
		return ctx, nothing
	}
	ctx, span := t.spans.tracer.Start(ctx, name, trace.WithAttributes(attributes(attrs)...))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, text(err.Error()))
		}
		span.End()
	}
}

// Stage is Start for a stage that has a sample: if it ends without an error, its
// duration is recorded under the name too.
func (t *Telemetry) Stage(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(error)) {
	if t == nil {
		return ctx, nothing
	}
	begin := time.Now()
	ctx, end := t.Start(ctx, name, attrs...)
	return ctx, func(err error) {
		if err == nil {
			t.recorder.Record(name, time.Since(begin))
		}
		end(err)
	}
}

func attributes(attrs []slog.Attr) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(attrs))
	for i, a := range attrs {
		key := attribute.Key(text(a.Key))
		switch v := a.Value.Resolve(); v.Kind() {
		case slog.KindInt64:
			out[i] = key.Int64(v.Int64())
		case slog.KindFloat64:
			out[i] = key.Float64(v.Float64())
		case slog.KindBool:
			out[i] = key.Bool(v.Bool())
		default:
			out[i] = key.String(text(v.String()))
		}
	}
	return out
}
