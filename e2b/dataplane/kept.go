package dataplane

import (
	"net/http"
	"time"
)

const (
	// portIdle is how long a connection to a port is kept for the next request. It is shorter than the timeouts of common
	// servers (two seconds and more), and bounds how long a server of one connection at a time waits for its next client.
	portIdle = 250 * time.Millisecond
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
// handshake had the name of a host.
func mayUseKept(r *http.Request) bool {
	return r.URL.Scheme == "http" && r.Body == nil && idempotent(r) && r.Header.Get("Upgrade") == ""
}
