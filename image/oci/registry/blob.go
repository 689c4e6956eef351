//go:build linux

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/rundlet/rundlet/internal/retry"
)

// errIdle ends a request to a registry that sends too little.
var errIdle = errors.New("the registry sends nothing")

const (
	// leastBytes must come within each idle time: a byte now and then is nothing, too.
	leastBytes = 64 << 10
	// maxCuts is how often in a row a download may break off before it has got leastBytes more.
	maxCuts = 5
)

// blob is a download that goes on where it was cut.
type blob struct {
	ctx  context.Context
	from *repository
	path string
	size int64 // 0 if it is not known.

	body   io.ReadCloser // nil between requests.
	cancel context.CancelCauseFunc
	reqCtx context.Context
	timer  *time.Timer
	at     int64 // How much was read.
	since  int64 // How much of it since the timer was set.
	cuts   int
	pauses *backoff.ExponentialBackOff
}

func newBlob(ctx context.Context, from *repository, path string, size int64) *blob {
	return &blob{ctx: ctx, from: from, path: path, size: size, pauses: from.pauses.New()}
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for {
		if b.body == nil {
			if err := b.request(); err != nil {
				if err := b.failed(err); err != nil {
					return 0, err
				}
				continue
			}
		}
		n, err := b.body.Read(p)
		b.at += int64(n)
		if b.since += int64(n); b.since >= leastBytes {
			b.since, b.cuts = 0, 0
			b.timer.Reset(b.from.idle)
		}
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF) && (b.size == 0 || b.at >= b.size):
			return n, io.EOF
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		err = cause(b.reqCtx, err)
		b.end()
		if err := b.failed(err); err != nil || n > 0 {
			return n, err
		}
	}
}

// request asks for the rest of the blob.
func (b *blob) request() error {
	b.reqCtx, b.cancel = context.WithCancelCause(b.ctx)
	cancel := b.cancel
	b.timer = time.AfterFunc(b.from.idle, func() { cancel(errIdle) })
	b.since = 0
	resp, err := b.from.get(b.reqCtx, b.path, b.at, b.size) //nolint:bodyclose // end closes it.
	if err != nil {
		b.end()
		return err
	}
	if b.body = resp.Body; b.at == 0 {
		return nil
	}
	if resp.StatusCode == http.StatusPartialContent {
		var first int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &first); err != nil || first != b.at {
			b.end()
			return retry.Stop(fmt.Errorf("the registry sends the range %.100q instead of that from %d on", resp.Header.Get("Content-Range"), b.at))
		}
		return nil
	}
	// It knows no ranges: what is there already comes again.
	for skipped := int64(0); skipped < b.at; {
		n, err := io.CopyN(io.Discard, b.body, min(leastBytes, b.at-skipped))
		if skipped += n; err != nil {
			err = cause(b.reqCtx, err)
			b.end()
			return err
		}
		b.timer.Reset(b.from.idle)
	}
	return nil
}

// failed waits before another request, or returns the error if there shall be none.
func (b *blob) failed(err error) error {
	var stop *backoff.PermanentError
	var answer *transport.Error
	b.cuts++
	switch {
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case errors.As(err, &stop), errors.Is(err, ErrPrivate), errors.As(err, &answer) && !temporary(answer.StatusCode):
		return err
	case b.cuts > maxCuts:
		return fmt.Errorf("after %d attempts and %d bytes: %w", b.cuts, b.at, err)
	}
	timer := time.NewTimer(b.pauses.NextBackOff())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

func temporary(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// end ends the request.
func (b *blob) end() {
	if b.cancel == nil {
		return
	}
	b.timer.Stop()
	if b.body != nil {
		b.body.Close()
	}
	b.cancel(context.Canceled)
	b.body, b.cancel = nil, nil
}

// Close implements io.Closer.
func (b *blob) Close() error {
	b.end()
	return nil
}
