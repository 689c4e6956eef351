package e2b

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime"
)

const (
	// keepCreate is how long a create can be sent again; a client that retries
	// does so within minutes.
	keepCreate = 10 * time.Minute
	// maxCreates bounds the memory that clients can fill.
	maxCreates = 10000
)

var idempotencyKeyPattern = regexp.MustCompile(`^[a-z0-9-]{1,255}$`)

// creates remembers the creates that came with an idempotency key. They are
// forgotten on a restart. The zero value is ready.
type creates struct {
	mu    sync.Mutex
	calls map[createKey]*createCall
}

// createKey is a client's key among those of the same API key.
type createKey struct{ keyID, key string }

// createCall is one create. sb and err may be read once done is closed.
type createCall struct {
	body [sha256.Size]byte
	done chan struct{}
	sb   runtime.Sandbox
	err  error
}

// once calls create, or returns the sandbox of the call before with the same key
// and request, waiting for it if need be. A call that failed does not count.
func (c *creates) once(ctx context.Context, key string, req runtime.CreateRequest, create func() (runtime.Sandbox, error)) (runtime.Sandbox, error) {
	if !idempotencyKeyPattern.MatchString(key) {
		return runtime.Sandbox{}, badRequest("Idempotency-Key must be 1 to 255 lower-case letters, digits and hyphens")
	}
	text, err := json.Marshal(req)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	k, body := createKey{req.KeyID, key}, sha256.Sum256(text)
	for {
		call, first, err := c.enter(k, body)
		switch {
		case err != nil:
			return runtime.Sandbox{}, err
		case first:
			defer c.leave(k, call)
			call.sb, call.err = create()
			return call.sb, call.err
		case call.body != body:
			return runtime.Sandbox{}, &apiError{code: http.StatusUnprocessableEntity, cause: "idempotency_request_mismatch",
				message: "this Idempotency-Key was used with another request"}
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return runtime.Sandbox{}, ctx.Err()
		}
		if call.err == nil {
			return call.sb, nil
		}
	}
}

// enter returns the call of the key, and whether the caller is the one to make it.
func (c *creates) enter(k createKey, body [sha256.Size]byte) (call *createCall, first bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.calls[k]; call != nil {
		return call, false, nil
	}
	if len(c.calls) >= maxCreates {
		return nil, false, &apiError{code: http.StatusTooManyRequests, message: "too many idempotency keys", retryAfter: time.Minute}
	}
	if c.calls == nil {
		c.calls = make(map[createKey]*createCall)
	}
	// Until create returns, the call counts as failed: it may panic.
	call = &createCall{body: body, done: make(chan struct{}), err: runtime.ErrUnavailable}
	c.calls[k] = call
	return call, true, nil
}

// leave lets those go on who wait, and forgets the call, in time or at once.
func (c *creates) leave(k createKey, call *createCall) {
	forget := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.calls, k)
	}
	if call.err != nil {
		forget()
	} else {
		time.AfterFunc(keepCreate, forget)
	}
	close(call.done)
}
