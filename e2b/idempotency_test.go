package e2b

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime"
)

func TestIdempotencyKey(t *testing.T) {
	n := newNode(t, Config{})
	const body = `{"templateID":"base","metadata":{"a":"b","c":"d"}}`
	create := func(key, body string) reply { return n.do("POST", "/v2/sandboxes", body, "Idempotency-Key", key) }
	first := create("k-1", body)
	if again := create("k-1", body); again.code != http.StatusCreated || again.body != first.body {
		t.Errorf("again: %d %s, first %s", again.code, again.body, first.body)
	}
	if other := create("k-2", body); other.code != http.StatusCreated || other.body == first.body {
		t.Errorf("another key: %d %s", other.code, other.body)
	}
	r := create("k-1", `{"templateID":"base"}`)
	if want := `{"code":422,"error_code":"idempotency_request_mismatch","message":"this Idempotency-Key was used with another request"}`; r.code != 422 || r.body != want {
		t.Errorf("another body: %d %s", r.code, r.body)
	}
	create("k-3", `{"templateID":"nope"}`).wantError(t, 404, "nope")
	if r := create("k-3", body); r.code != http.StatusCreated {
		t.Errorf("after a failure: %d %s", r.code, r.body)
	}
	for _, key := range []string{"A", "a b", "ä", strings.Repeat("a", 256)} {
		create(key, body).wantError(t, 400, "Idempotency-Key")
	}
	if got := n.do("GET", "/v2/sandboxes", "").ids(t, "sandboxID"); len(got) != 3 {
		t.Errorf("%d sandboxes", len(got))
	}
}

func TestAnswersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c answers
		var calls atomic.Int32
		slow := func(sb string, err error) func() (runtime.Sandbox, error) {
			return func() (runtime.Sandbox, error) {
				calls.Add(1)
				time.Sleep(time.Second)
				return runtime.Sandbox{ID: sb}, err
			}
		}
		once := func(ctx context.Context, create func() (runtime.Sandbox, error)) (runtime.Sandbox, error) {
			key := "k"
			return once(ctx, &c, &key, "create", runtime.CreateRequest{}, create)
		}
		// The first fails; who waits for it takes over.
		failed := errors.New("failed")
		go func() {
			if _, err := once(t.Context(), slow("", failed)); err != failed {
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
			t.Errorf("who went away while waiting: %v, %d calls", err, calls.Load())
		}
		time.Sleep(2*time.Second + keepAnswer)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.calls) != 0 {
			t.Errorf("%d calls are still remembered", len(c.calls))
		}
	})
}
