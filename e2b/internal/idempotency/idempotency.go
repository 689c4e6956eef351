// Package idempotency remembers the answers to requests that carry an idempotency key, so that one
// that is sent again is not executed twice. It may import e2b/internal, and sandbox for
// errors; only packages of e2b import it.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math"
	"regexp"
	"sync"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	// keepAnswer is how long a request can be sent again; a client that retries
	// does so within minutes.
	keepAnswer = 10 * time.Minute
	// answerCost is the cost of a remembered call, in bytes, besides its answer.
	answerCost = 1 << 10
	// ownAnswers is the memory that every API key has for answers, whatever others do;
	// the rest is in a budget of all, of which one key gets a share.
	ownAnswers               = 64 << 10
	allAnswers, answersOfOne = 64 << 20, 4 << 20
)

var idempotencyKeyPattern = regexp.MustCompile(`^[a-z0-9-]{1,255}$`)

// Answers remembers the answers to requests with an idempotency key. They are
// forgotten on a restart. It is safe for concurrent use.
type Answers struct {
	// Own and Shared bound the memory of answers, in bytes by API key: Own is that of each key alone,
	// Shared is for more than that. They are set before use.
	Own, Shared *quota.Budget

	mu    sync.Mutex
	calls map[answerKey]*answer // guarded by mu
}

// New returns the memory of a server that has answered nothing yet.
func New() *Answers {
	return &Answers{
		calls: map[answerKey]*answer{},
		Own:   quota.NewBudget(math.MaxInt64, ownAnswers), Shared: quota.NewBudget(allAnswers, answersOfOne),
	}
}

// answerKey is a client's key among those of the same API key.
type answerKey struct{ keyID, key string }

// answer is that of one call. value and err may be read once done is closed.
type answer struct {
	body  [sha256.Size]byte
	done  chan struct{}
	value any
	err   error
	// tooLarge: the budget was too small for value. The call must still not be made
	// again.
	tooLarge bool
	held     []holding // of the budgets
}

// holding is the amount that an answer took of a budget.
type holding struct {
	from *quota.Budget
	n    int64
}

// Once calls do, or returns what the call before with the same key and request
// returned, waiting for it if need be. Without a key it just calls do. A call
// that failed does not count. keyID is the API key, among whose requests key is one; what
// names the operation, and req is all that it was asked for.
func Once[T any](ctx context.Context, a *Answers, keyID string, key *string, what string, req any, do func() (T, error)) (T, error) {
	var none T
	if key == nil {
		return do()
	}
	if !idempotencyKeyPattern.MatchString(*key) {
		return none, refusal.Invalid.With("Idempotency-Key must be 1 to 255 lower-case letters, digits and hyphens")
	}
	text, err := json.Marshal([]any{what, req})
	if err != nil {
		return none, err
	}
	k, body := answerKey{keyID, *key}, sha256.Sum256(text)
	for {
		call, first, err := a.enter(k, body)
		switch {
		case err != nil:
			return none, err
		case first:
			defer a.leave(k, call)
			value, err := do()
			call.err = err
			if a.room(k, call, sizeOf(value)) {
				call.value = value
			} else {
				call.tooLarge = true
			}
			return value, err
		case call.body != body:
			return none, refusal.IdempotencyMismatch.With()
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return none, ctx.Err()
		}
		if call.err == nil && call.tooLarge {
			return none, refusal.AnswerNotKept.With()
		}
		if call.err == nil {
			// The same request, so the same type.
			return call.value.(T), nil
		}
	}
}

// enter returns the call of the key, and whether the caller is the one to make it.
func (a *Answers) enter(k answerKey, body [sha256.Size]byte) (call *answer, first bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if call := a.calls[k]; call != nil {
		return call, false, nil
	}
	// Until do returns, the call counts as failed: it may panic.
	call = &answer{body: body, done: make(chan struct{}), err: sandbox.ErrUnavailable}
	if !a.room(k, call, answerCost) {
		return nil, false, refusal.TooManyAnswers.With().After(time.Minute)
	}
	a.calls[k] = call
	return call, true, nil
}

// room takes n bytes for an answer from its API key's own budget, or from that of
// all, and reports whether there were as many.
func (a *Answers) room(k answerKey, call *answer, n int64) bool {
	for _, from := range []*quota.Budget{a.Own, a.Shared} {
		if from.Take(k.keyID, n) {
			call.held = append(call.held, holding{from, n})
			return true
		}
	}
	return false
}

// sizeOf estimates the memory of an answer: it has few strings that JSON lacks.
func sizeOf(value any) int64 {
	text, err := json.Marshal(value)
	if err != nil {
		return answersOfOne // Its size is unknown, so it is not kept.
	}
	return int64(len(text))
}

// leave releases the waiters and forgets the call, in time or at once.
func (a *Answers) leave(k answerKey, call *answer) {
	forget := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, k)
		for _, h := range call.held {
			h.from.Give(k.keyID, h.n)
		}
	}
	if call.err != nil {
		forget()
	} else {
		time.AfterFunc(keepAnswer, forget)
	}
	close(call.done)
}
