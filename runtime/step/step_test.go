package step

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/rundlet/rundlet/policy/latency"
)

type spans []string

func (s *spans) Start(ctx context.Context, name string, _ ...slog.Attr) (context.Context, func(error)) {
	*s = append(*s, "begin "+name)
	return ctx, func(err error) {
		if err != nil {
			name += " failed"
		}
		*s = append(*s, "end "+name)
	}
}

func TestAStageIsASpanAndASampleOfWhatSucceeded(t *testing.T) {
	var got spans
	r := Recorder{Latency: &latency.Recorder{}, Tracer: &got}
	_, end := r.Stage(t.Context(), latency.Create)
	end(nil)
	_, end = r.Stage(t.Context(), latency.Create)
	end(errors.New("it failed"))
	want := spans{"begin " + latency.Create, "end " + latency.Create, "begin " + latency.Create, "end " + latency.Create + " failed"}
	if !slices.Equal(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
	if all := r.Latency.Summaries(); len(all) != 1 || all[0].Count != 1 {
		t.Errorf("samples %+v, want that of the stage that succeeded", all)
	}
}

func TestAStepIsAFailPoint(t *testing.T) {
	injected := errors.New("injected")
	var passed []Step
	r := Recorder{Failpoint: func(s Step) error { passed = append(passed, s); return injected }}
	if err := r.At(KillEnded); !errors.Is(err, injected) {
		t.Errorf("got %v", err)
	}
	if err := r.At(None); err != nil || len(passed) != 1 {
		t.Errorf("None: %v; passed %v", err, passed)
	}
	if err := new(Recorder).At(KillEnded); err != nil {
		t.Errorf("without a fail point: %v", err)
	}
}

func TestStepsAreDistinct(t *testing.T) {
	all := All()
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != len(All()) {
		t.Errorf("%d steps, %d of them distinct", len(All()), n)
	}
}
