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
	// keepAnswer is how long a request can be sent again; a client that retries
	// does so within minutes.
	keepAnswer = 10 * time.Minute
	// maxAnswers bounds the memory that clients can fill.
	maxAnswers = 10000
)

var idempotencyKeyPattern = regexp.MustCompile(`^[a-z0-9-]{1,255}$`)

// answers remembers what was answered to requests that came with an idempotency
// key. They are forgotten on a restart. The zero value is ready.
type answers struct {
	mu    sync.Mutex
	calls map[answerKey]*answer
}

// answerKey is a client's key among those of the same API key.
type answerKey struct{ keyID, key string }

// answer is that of one call. value and err may be read once done is closed.
type answer struct {
	body  [sha256.Size]byte
	done  chan struct{}
	value any
	err   error
}

// once calls do, or returns what the call before with the same key and request
// returned, waiting for it if need be. Without a key it just calls do. A call
// that failed does not count. what names the operation, and req is all that it
// was asked for.
func once[T any](ctx context.Context, a *answers, key *string, what string, req any, do func() (T, error)) (T, error) {
	var none T
	if key == nil {
		return do()
	}
	if !idempotencyKeyPattern.MatchString(*key) {
		return none, badRequest("Idempotency-Key must be 1 to 255 lower-case letters, digits and hyphens")
	}
	text, err := json.Marshal([]any{what, req})
	if err != nil {
		return none, err
	}
	k, body := answerKey{keyID(ctx), *key}, sha256.Sum256(text)
	for {
		call, first, err := a.enter(k, body)
		switch {
		case err != nil:
			return none, err
		case first:
			defer a.leave(k, call)
			value, err := do()
			call.value, call.err = value, err
			return value, err
		case call.body != body:
			return none, &apiError{code: http.StatusUnprocessableEntity, cause: "idempotency_request_mismatch",
				message: "this Idempotency-Key was used with another request"}
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return none, ctx.Err()
		}
		if call.err == nil {
			// The same request, so the same type.
			return call.value.(T), nil
		}
	}
}

// enter returns the call of the key, and whether the caller is the one to make it.
func (a *answers) enter(k answerKey, body [sha256.Size]byte) (call *answer, first bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if call := a.calls[k]; call != nil {
		return call, false, nil
	}
	if len(a.calls) >= maxAnswers {
		return nil, false, &apiError{code: http.StatusTooManyRequests, message: "too many idempotency keys", retryAfter: time.Minute}
	}
	if a.calls == nil {
		a.calls = make(map[answerKey]*answer)
	}
	// Until do returns, the call counts as failed: it may panic.
	call = &answer{body: body, done: make(chan struct{}), err: runtime.ErrUnavailable}
	a.calls[k] = call
	return call, true, nil
}

// leave lets those go on who wait, and forgets the call, in time or at once.
func (a *answers) leave(k answerKey, call *answer) {
	forget := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, k)
	}
	if call.err != nil {
		forget()
	} else {
		time.AfterFunc(keepAnswer, forget)
	}
	close(call.done)
}
