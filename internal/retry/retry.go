// Package retry repeats work that failed, with growing pauses. The pauses are
// cenkalti/backoff's: each is longer or shorter by a random fifth, so that what
// failed together is not repeated together. It imports that library and nothing of
// this module; any package of the host may import it.
package retry

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// jitter is the random part of a pause.
const jitter = 0.2

// Pauses bound the time between two attempts. It doubles from First to Most.
type Pauses struct{ First, Most time.Duration }

// New returns an endless series of pauses. It is not safe for concurrent use.
func (p Pauses) New() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: p.First, MaxInterval: p.Most, Multiplier: 2, RandomizationFactor: jitter,
	}
}

// Stop makes an error end the attempts: Do and Again return err then.
func Stop(err error) error { return backoff.Permanent(err) }

// Do makes attempts until one succeeds, stops, or ctx ends, whose cause it returns
// then. Failed, which may be nil, is called before each pause.
func (p Pauses) Do(ctx context.Context, attempt func() error, failed func(err error, pause time.Duration)) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, attempt() },
		backoff.WithBackOff(p.New()), backoff.WithMaxElapsedTime(0), backoff.WithNotify(failed))
	return err
}

// errBefore is the failure of an attempt that was made by another.
var errBefore = errors.New("failed before")

// Again is Do after an attempt that the caller has made: a pause comes first.
func (p Pauses) Again(ctx context.Context, attempt func() error, failed func(err error, pause time.Duration)) error {
	first := true
	return p.Do(ctx, func() error {
		if first {
			first = false
			return errBefore
		}
		return attempt()
	}, func(err error, pause time.Duration) {
		if failed != nil && !errors.Is(err, errBefore) {
			failed(err, pause)
		}
	})
}
