// Package stream holds what the agent's server streams have in common: the
// client's timeout, taken out of connect's hands so that a restored clock does
// not end streams, and keep-alives. It may import the standard library only;
// the agent's packages import it.
package stream

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// defaultPing is the keep-alive interval when the client names none.
const defaultPing = 90 * time.Second

// maxTimeout is the longest timeout; longer ones count as none.
const maxTimeout = 365 * 24 * time.Hour

type timeoutKey struct{}

const timeoutHeader = "Connect-Timeout-Ms"

// TakeTimeout moves the Connect timeout of a request from its header to its
// context, for Timeout.
func TakeTimeout(r *http.Request) *http.Request {
	text := r.Header.Get(timeoutHeader)
	if text == "" {
		return r
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms < 0 || len(text) > 10 {
		// Left in place: connect refuses it in the protocol's form.
		return r
	}
	d := min(time.Duration(ms)*time.Millisecond, maxTimeout)
	r = r.WithContext(context.WithValue(r.Context(), timeoutKey{}, d))
	r.Header = r.Header.Clone()
	r.Header.Del(timeoutHeader)
	return r
}

// Timeout returns the client's timeout, if it gave one.
func Timeout(ctx context.Context) (time.Duration, bool) {
	d, ok := ctx.Value(timeoutKey{}).(time.Duration)
	return d, ok
}

// PingInterval returns how long a stream may be silent.
func PingInterval(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Keepalive-Ping-Interval"))
	if err != nil || s < 1 || s > 24*3600 {
		return defaultPing
	}
	return time.Duration(s) * time.Second
}
