package idempotency

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

func TestAnswersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		var calls atomic.Int32
		slow := func(sb string, err error) func() (sandbox.Sandbox, error) {
			return func() (sandbox.Sandbox, error) {
				calls.Add(1)
				time.Sleep(time.Second)
				return sandbox.Sandbox{ID: sb}, err
			}
		}
		once := func(ctx context.Context, create func() (sandbox.Sandbox, error)) (sandbox.Sandbox, error) {
			key := "k"
			return Once(ctx, c, "", &key, "create", sandbox.CreateRequest{}, create)
		}
		// The first fails; its waiter takes over.
		failed := errors.New("failed")
		go func() {
			if _, err := once(t.Context(), slow("", failed)); !errors.Is(err, failed) {
				t.Errorf("first: %v", err)
			}
		}()
		synctest.Wait()
		if sb, err := once(t.Context(), slow("b", nil)); err != nil || sb.ID != "b" || calls.Load() != 2 {
			t.Errorf("second: %v, %v, %d calls", sb.ID, err, calls.Load())
		}
		if sb, err := once(t.Context(), slow("c", nil)); err != nil || sb.ID != "b" || calls.Load() != 2 {
			t.Errorf("third: %v, %v, %d calls", sb.ID, err, calls.Load())
		}
		time.Sleep(keepAnswer + time.Second)
		go once(t.Context(), slow("d", nil))
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := once(gone, slow("e", nil)); !errors.Is(err, context.Canceled) || calls.Load() != 3 {
			t.Errorf("a client that left while waiting: %v, %d calls", err, calls.Load())
		}
		time.Sleep(2*time.Second + keepAnswer)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.calls) != 0 || c.Own.Used()+c.Shared.Used() != 0 {
			t.Errorf("%d calls are still remembered", len(c.calls))
		}
	})
}

// One API key that uses up its share is refused, and no other is.
func TestIdempotencyAnswersAreSharedByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		calls := 0
		call := func(keyID, key, answer string) error {
			_, err := Once(t.Context(), c, keyID, &key, "create", nil, func() (string, error) {
				calls++
				return answer, nil
			})
			return err
		}
		fill := func(keyID, answer string) (made int, err error) {
			for ; err == nil && made < 2*answersOfOne/answerCost; made++ {
				err = call(keyID, fmt.Sprintf("k-%d", made), answer)
			}
			return made - 1, err
		}
		refused := func(err error) bool {
			var e *refusal.Error
			return errors.As(err, &e) && e.Status == http.StatusTooManyRequests && e.RetryAfter > 0
		}
		small, err := fill("greedy", "x")
		if !refused(err) || small < 1000 {
			t.Fatalf("%d answers, then %v", small, err)
		}
		large, err := fill("wordy", strings.Repeat("x", 100<<10))
		if !refused(err) || large >= small {
			t.Errorf("%d large answers, %d small ones, then %v", large, small, err)
		}
		if held := c.Shared.Used(); held > 2*answersOfOne {
			t.Errorf("%d bytes are held of %d", held, 2*answersOfOne)
		}
		c.Shared = quota.NewBudget(0, 0) // As when many keys have used up theirs.
		if err := call("modest", "k", "x"); err != nil {
			t.Errorf("another key: %v", err)
		}
		// The answer does not fit into the budget, and yet the request is not made twice.
		before := calls
		if err := call("modest", "large", strings.Repeat("x", ownAnswers)); err != nil {
			t.Error(err)
		}
		var e *refusal.Error
		if err := call("modest", "large", ""); !errors.As(err, &e) || e.Status != http.StatusConflict || calls != before+1 {
			t.Errorf("a large answer again: %v, %d calls", err, calls-before)
		}
		time.Sleep(keepAnswer + time.Second)
		if err := call("greedy", "k-new", "x"); err != nil {
			t.Errorf("when they were forgotten: %v", err)
		}
	})
}
