package e2b

import (
	"net/http"
	"strings"
	"testing"
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
