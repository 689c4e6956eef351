package dataplane

import (
	"net/http"
	"sync"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/secrets"
)

const (
	// portIdle is how long a connection to a port is kept for the next request. It is shorter than the timeouts of common
	// servers (two seconds and more).
	portIdle = 250 * time.Millisecond
	// portLife is how old a connection to a port may be for another request: the next one ends it. A server of one
	// connection at a time would else never serve anyone beside a client that asks often.
	portLife = time.Second
	// portIdleConns bounds the kept connections to one port.
	portIdleConns = 32
)

// keeping returns the transport that keeps connections to ports.
func keeping(base *http.Transport) *http.Transport {
	t := base.Clone()
	t.IdleConnTimeout = portIdle
	t.MaxIdleConnsPerHost = portIdleConns
	return t
}

// mayUseKept reports whether a request may go over a connection to a port that an earlier request left. The program may
// close it at that moment: net/http then sends the request over another one, if it may be sent twice and has no body.
// All other requests have new connections, as those by which the protocol changes and those over TLS, whose
// handshake had the name of a host, and those that log in for all that follows on their connection.
func mayUseKept(r *http.Request) bool {
	login := r.Header.Get("Authorization")
	return r.URL.Scheme == "http" && r.Body == nil && idempotent(r) && r.Header.Get("Upgrade") == "" && !secrets.HasPrefixFold(login, "NTLM") && !secrets.HasPrefixFold(login, "Negotiate")
}

// reads is whether a connection is being read. The zero value is ready, and safe for concurrent use.
type reads struct {
	mu    sync.Mutex
	state int           // busy, reading or closed; guarded by mu
	left  chan struct{} // closed when the connection is busy no more; nil if nothing waits; guarded by mu
}

// The states of reads. A connection that is closed stays so.
const (
	busy = iota
	reading
	closed
)

func (r *reads) set(state int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != closed {
		r.state = state
	}
	if r.state != busy && r.left != nil {
		close(r.left)
		r.left = nil
	}
}

// await returns when a connection that a request uses again is read, so that no byte behind the last answer is left, or is
// closed. net/http closes one with such bytes, but only if there is no next request yet: else they would be its answer.
func (r *reads) await() {
	r.mu.Lock()
	if r.state == busy && r.left == nil {
		r.left = make(chan struct{})
	}
	left := r.left
	r.mu.Unlock()
	if left != nil {
		<-left
	}
}
