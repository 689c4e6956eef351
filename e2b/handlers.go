package e2b

import (
	"sync"
	"time"
)

// handlers counts the requests that are being served, those of hijacked connections too, which net/http does not wait for. The
// zero value is ready, and safe for concurrent use.
type handlers struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	none chan struct{} // closed when n is 0; nil if nothing waits; guarded by mu
}

func (h *handlers) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
}

func (h *handlers) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n--; h.n == 0 && h.none != nil {
		close(h.none)
		h.none = nil
	}
}

// wait returns when no request is left, or after most. It is called once.
func (h *handlers) wait(most time.Duration) {
	h.mu.Lock()
	if h.n == 0 {
		h.mu.Unlock()
		return
	}
	none := make(chan struct{})
	h.none = none
	h.mu.Unlock()
	enough := time.NewTimer(most)
	defer enough.Stop()
	select {
	case <-none:
	case <-enough.C:
	}
}
