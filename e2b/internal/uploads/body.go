package uploads

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

const (
	// IdleTime is how long a client may send nothing, and MaxTime how long an upload may take in all.
	IdleTime = time.Minute
	MaxTime  = time.Hour
	// extendEvery is how often the deadline is set anew while bytes come.
	extendEvery = time.Second
)

// Body is the body of an upload. It is for one goroutine.
type Body struct {
	w   http.ResponseWriter
	in  io.Reader
	end time.Time
	set time.Time // when the deadline was set
	err error     // of the client or the connection
}

// Begin counts an upload until end is called, or refuses it. It waits for its turn.
func (u *Uploads) Begin(w http.ResponseWriter, r *http.Request) (body *Body, end func(), err error) {
	if r.ContentLength > u.Max {
		return nil, nil, &http.MaxBytesError{Limit: u.Max}
	}
	if r.ContentLength == 0 {
		return nil, nil, refusal.Invalidf("the request body is empty; it must be a tar archive")
	}
	key := exchange.KeyID(r.Context())
	if err := u.enter(r.Context(), key); err != nil {
		return nil, nil, err
	}
	body = &Body{w: w, in: http.MaxBytesReader(exchange.Bare(w), r.Body, u.Max), end: time.Now().Add(MaxTime)}
	return body, func() { u.leave(key) }, nil
}

// enter counts an upload of a key, in its turn.
func (u *Uploads) enter(ctx context.Context, key string) error {
	patience := time.NewTimer(u.Wait)
	defer patience.Stop()
	for {
		ended, ok := u.take(key)
		if ok {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return refusal.TooManyUploads.With().After(time.Second)
		}
	}
}

// take counts an upload, or returns what is closed when another one ends.
func (u *Uploads) take(key string) (ended <-chan struct{}, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.Budget.Take(key, 1) {
		return nil, true
	}
	if u.ended == nil {
		u.ended = make(chan struct{})
	}
	return u.ended, false
}

// leave ends an upload, and lets those that wait try again.
func (u *Uploads) leave(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.Budget.Give(key, 1)
	if u.ended != nil {
		close(u.ended)
		u.ended = nil
	}
}

// Read reads of the body, and gives the client time to send more.
func (b *Body) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) >= extendEvery {
		b.set = now
		deadline := now.Add(IdleTime)
		if b.end.Before(deadline) {
			deadline = b.end
		}
		exchange.ReadBy(b.w, deadline)
	}
	n, err := b.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// Finish reads what is left of a body whose files are there already: a client that is still sending would otherwise
// see a broken connection. It returns an error if the body was not whole.
func (b *Body) Finish() error {
	if b.err == nil {
		_, _ = io.Copy(io.Discard, b)
	}
	if b.err == nil {
		exchange.ReadBy(b.w, time.Time{}) // For the wait for the end of the client.
	}
	return b.Err()
}

// Err is the error of the client or its connection, in words for the client; nil if there was none.
func (b *Body) Err() error {
	var tooLarge *http.MaxBytesError
	switch {
	case b.err == nil:
		return nil
	case errors.As(b.err, &tooLarge):
		return b.err
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return refusal.Invalidf("the upload stopped for %s, or took longer than %s", IdleTime, MaxTime)
	}
	return refusal.Invalidf("the upload ended early")
}
