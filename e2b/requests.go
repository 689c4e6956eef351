package e2b

import (
	"net/http"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/conns"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/e2b/internal/uploads"
)

// The memory that a request holds until it has been answered: its header as text and as a
// map, a goroutine and buffers. On one HTTP/2 connection there may be a thousand,
// and a request to a sandbox is answered when a guest likes.
const (
	// requestCost is that of a request without a header, in bytes.
	requestCost = 8 << 10
	// maxRequest bounds the cost of one.
	maxRequest = 160 << 10
	// Requests of clients without a key or token are in a separate budget, as are
	// the others. Half of it is the most for one address.
	allRequests, requestsOfOne = 256 << 20, 128 << 20
)

// requests counts the requests in flight.
type requests struct{ strangers, known *quota.Budget }

func newRequests() requests {
	return requests{quota.NewBudget(allRequests, requestsOfOne), quota.NewBudget(allRequests, requestsOfOne)}
}

func costOf(r *http.Request) int64 {
	cost := int64(requestCost + len(r.RequestURI) + len(r.Host))
	for name, values := range r.Header {
		for _, v := range values {
			cost += int64(len(name) + len(v) + conns.FieldCost)
		}
	}
	return cost
}

// heldBody is the part of a body that HTTP/2 may buffer while the handler does not read it.
func heldBody(r *http.Request) int64 {
	if r.ProtoMajor < 2 {
		return 0
	}
	if r.ContentLength < 0 {
		return streamBody
	}
	return min(r.ContentLength, streamBody)
}

// admit counts a request until release is called, or has answered it.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) (release func(), ok bool) {
	cost := costOf(r)
	if cost > maxRequest {
		refusal.HeaderTooLarge.With().Write(w)
		return nil, false
	}
	cost += heldBody(r)
	peer := quota.Network(s.callers.peers.of(r)).String()
	budget := s.requests.strangers
	if s.conns.Trust(r.Context()) == conns.Keyed {
		budget = s.requests.known
	}
	if !budget.Take(peer, cost) {
		known := s.requests.known
		if budget == known || !s.startup.over() || !s.shows(r) || !known.Take(peer, cost) {
			refusal.TooManyRequests.With().After(startRetry).Write(w)
			return nil, false
		}
		budget = known
	}
	return func() { budget.Give(peer, cost) }, true
}

// shows reports whether a request has a valid key, a token of the sandbox that
// it is for, or the signature of an upload.
func (s *Server) shows(r *http.Request) bool {
	if s.callers.hasKey(r) {
		return true
	}
	if uploads.Is(r) {
		_, err := s.control.Uploads.Check(r, time.Now())
		return err == nil
	}
	target, ok, err := route.Of(r, s.cfg.Domain)
	return err == nil && ok && s.proxy.HasToken(r, target)
}
