package dataplane

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

func TestErrorsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want *refusal.Row // nil: it depends on the state of the sandbox
		wait time.Duration
	}{
		{ErrExpired, refusal.SignatureExpired, 0},
		{&LimitError{After: time.Minute}, refusal.TooMuch, time.Minute},
		{&sandbox.RetryError{After: time.Minute, Detail: "x"}, refusal.NotNow, time.Minute},
		{sandbox.ErrPortClosed, refusal.PortClosed, 0},
		{sandbox.ErrNotFound, refusal.Gone, 0},
		{sandbox.ErrNotRunning, refusal.Gone, 0},
		{sandbox.ErrConflict, nil, 0},
		{sandbox.ErrUnavailable, refusal.Stopping, 0},
		{sandbox.ErrLacking, refusal.TooManyStreams, time.Second},
		{errTooManyStreams, refusal.TooManyStreams, time.Second},
		{errTooManyHeads, refusal.TooManyHeads, time.Second},
		{errHeadTooLarge, refusal.HeadTooLarge, 0},
		{errSlowHead, refusal.HeadTooSlow, 0},
		{errors.New("it broke"), nil, 0},
		{sandbox.ErrDiskFull, nil, 0},
	} {
		e, ok := classify(fmt.Errorf("dial: %w", tt.err))
		if ok != (tt.want != nil) || ok && (e.Row != tt.want || e.RetryAfter != tt.wait) {
			t.Errorf("%v: %+v", tt.err, e)
		}
	}
}
