package dataplane

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
)

// A signed file URL that names no sandbox, as SDKs make them when one URL serves
// all sandboxes, has to be tried with token after token: the signature is a hash,
// so nothing can be looked up by it. The sandboxes that were used last are tried
// first, and those are of a fixed number; a search of the others is charged.
const (
	recentSigners = 128
	// searchers bounds the requests that wait for a search of all sandboxes, of which
	// there is one at a time.
	searchers = 16
)

// signers are the sandboxes whose tokens were used last. They are safe for
// concurrent use; the zero value is ready.
type signers struct {
	mu    sync.RWMutex
	place map[string]int // by id; guarded by mu
	ring  []*signer      // at most recentSigners; guarded by mu
	hand  int            // the next that has to go if it was not used since; guarded by mu
}

type signer struct {
	id, token string
	used      atomic.Bool
}

// add notes that the token of a sandbox was used.
func (s *signers) add(id, token string) {
	s.mu.RLock()
	i, known := s.place[id]
	if known {
		s.ring[i].used.Store(true)
	}
	s.mu.RUnlock()
	if known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.place[id]; known {
		return
	}
	if s.place == nil {
		s.place = map[string]int{}
	}
	if len(s.ring) < recentSigners {
		s.ring = append(s.ring, nil)
		s.put(len(s.ring)-1, id, token)
		return
	}
	for s.ring[s.hand].used.Swap(false) {
		s.hand = (s.hand + 1) % len(s.ring)
	}
	delete(s.place, s.ring[s.hand].id)
	s.put(s.hand, id, token)
	s.hand = (s.hand + 1) % len(s.ring)
}

// put writes a place of the ring. The caller holds mu.
func (s *signers) put(i int, id, token string) {
	s.ring[i] = &signer{id: id, token: token}
	s.place[id] = i
}

// find returns which of them signed.
func (s *signers) find(what *signature.Claim) (id string, ok bool) {
	h := sha256.New()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, one := range s.ring {
		if what.By(one.token, h) {
			one.used.Store(true)
			return one.id, true
		}
	}
	return "", false
}

// Signer notes that a client was shown the token of a sandbox, and so may sign.
func (p *Proxy) Signer(id, token string) {
	if token != "" {
		p.signers.add(id, token)
	}
}

// FillSigners notes as many sandboxes as are tried always, so that after a start the
// URLs of most nodes need no search.
func (p *Proxy) FillSigners(ctx context.Context) error {
	left := recentSigners
	return p.sandboxes.EachToken(ctx, func(id, token string) bool {
		p.Signer(id, token)
		left--
		return left > 0
	})
}

// Signed finds the sandbox of a signed file URL that names none: it is the one
// with whose token the signature was made. It returns ErrNoSignature,
// ErrBadSignature, ErrExpired, a *LimitError, or an error of the runtime.
func (p *Proxy) Signed(r *http.Request) (route.Target, error) {
	what, err := parseSigned(r)
	if err == nil {
		err = fresh(what, time.Now())
	}
	if err != nil {
		return route.Target{}, err
	}
	id, ok := p.signers.find(what)
	if !ok {
		if id, err = p.searchAll(r, what); err != nil {
			return route.Target{}, err
		}
	}
	// It may be gone since: then its token is no longer valid.
	if _, err := p.sandboxes.Get(r.Context(), id); isGone(err) {
		return route.Target{}, ErrBadSignature
	}
	return route.Target{ID: id, Port: envd.Port}, nil
}

// searchAll tries all sandboxes, one request after the other.
func (p *Proxy) searchAll(r *http.Request, what *signature.Claim) (string, error) {
	if wait, ok := p.charge(r, searchCost); !ok {
		return "", &LimitError{After: wait}
	}
	select {
	case p.searchers <- struct{}{}:
		defer func() { <-p.searchers }()
	default:
		return "", &LimitError{After: time.Second}
	}
	p.searching.Lock()
	defer p.searching.Unlock()
	var found string
	h := sha256.New()
	err := p.sandboxes.EachToken(r.Context(), func(id, token string) bool {
		if what.By(token, h) {
			found = id
			p.signers.add(id, token)
		}
		return found == "" && r.Context().Err() == nil
	})
	switch {
	case err != nil:
		return "", err
	case r.Context().Err() != nil:
		return "", context.Cause(r.Context())
	case found == "":
		return "", ErrBadSignature
	}
	return found, nil
}
