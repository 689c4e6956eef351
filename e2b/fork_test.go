package e2b

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

func TestFork(t *testing.T) {
	tests := []struct {
		name, body string
		children   int
		timeout    time.Duration
	}{
		{"empty body", ``, 1, 15 * time.Second},
		{"empty object", `{}`, 1, 15 * time.Second},
		{"three", `{"count":3}`, 3, 15 * time.Second},
		{"with a timeout", `{"count":2,"timeout":77}`, 2, 77 * time.Second},
		{"nulls", `{"count":null,"timeout":null}`, 1, 15 * time.Second},
		{"most", `{"count":100}`, 100, 15 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, Config{})
			id := n.sandbox()
			if tt.children > 1 {
				n.set(id, sandbox.StatePaused)
			}
			before := n.do("GET", "/sandboxes/"+id, "").body
			r := n.do("POST", "/sandboxes/"+id+"/fork", tt.body)
			var results []map[string]map[string]any
			if err := json.Unmarshal([]byte(r.body), &results); err != nil || r.code != http.StatusCreated || len(results) != tt.children {
				t.Fatalf("%d %s: %v", r.code, r.body, err)
			}
			for _, result := range results {
				child, _ := result["sandbox"]["sandboxID"].(string)
				if len(result) != 1 || child == id || child == "" {
					t.Fatalf("result %v", result)
				}
				end := n.do("GET", "/sandboxes/"+child, "").fields(t)["endAt"]
				if want := fakeruntime.Epoch.Add(tt.timeout).Format(time.RFC3339Nano); end != want {
					t.Errorf("the child ends %s, want %s", end, want)
				}
			}
			if after := n.do("GET", "/sandboxes/"+id, "").body; after != before {
				t.Errorf("the fork made %s of %s", after, before)
			}
		})
	}
}

func TestForkBody(t *testing.T) {
	n := newNode(t, Config{})
	n.Room = 2
	id := n.sandbox()
	child := fmt.Sprintf("i%020d", 1)
	r := n.do("POST", "/sandboxes/"+id+"/fork", `{"count":2}`)
	want := `[{"sandbox":{"alias":"base","clientID":"rundlet","envdAccessToken":"token-` + child + `","envdVersion":"0.6.13","sandboxID":"` + child + `","templateID":"tpl0"}},` +
		`{"error":{"code":429,"message":"not enough memory on this machine: 512 requested, 100 available; try again later, or end or pause sandboxes"}}]`
	if r.code != http.StatusCreated || r.body != want {
		t.Errorf("%d %s\nwant %s", r.code, r.body, want)
	}
}

func TestForkRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		state      sandbox.State
		code       int
		message    string
	}{
		{"none", `{"count":0}`, sandbox.StateRunning, 400, "count must be from 1 to 100"},
		{"negative", `{"count":-1}`, sandbox.StateRunning, 400, "count"},
		{"too many", `{"count":101}`, sandbox.StateRunning, 400, "got 101"},
		{"huge", `{"count":99999999999}`, sandbox.StateRunning, 400, `"count"`},
		{"fraction", `{"count":1.5}`, sandbox.StateRunning, 400, `"count"`},
		{"no time", `{"timeout":0}`, sandbox.StateRunning, 400, "timeout must be positive"},
		{"too long", `{"timeout":86401}`, sandbox.StateRunning, 400, "86400"},
		{"array", `[1]`, sandbox.StateRunning, 400, "array"},
		{"being paused", `{}`, sandbox.StatePausing, 409, "its state is changing"},
	}
	n := newNode(t, Config{})
	id := n.sandbox()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			n.set(id, tt.state)
			n.do("POST", "/sandboxes/"+id+"/fork", tt.body).wantError(t, tt.code, tt.message)
		})
	}
	n.t = t
	n.set(id, sandbox.StateRunning)
	n.Fail(&sandbox.CapacityError{Resource: "cpu", RetryAfter: time.Second})
	if r := n.do("POST", "/sandboxes/"+id+"/fork", ``); r.code != 429 || r.header.Get("Retry-After") != "1" {
		t.Errorf("no room for any: %d %s %v", r.code, r.body, r.header)
	}
	n.Fail(nil)
	n.do("DELETE", "/sandboxes/"+id, "")
	n.do("POST", "/sandboxes/"+id+"/fork", `{}`).wantError(t, 404, `Sandbox "`+id+`" doesn't exist`)
}

// TestIdempotencyKeyOfOtherRequests: one key is for one request of one kind.
func TestIdempotencyKeyOfOtherRequests(t *testing.T) {
	n := newNode(t, Config{})
	id, other := n.sandbox(), n.sandbox()
	n.do("POST", "/sandboxes/"+id+"/continuations", `{"reason":"idle"}`)
	continuation := n.do("POST", "/sandboxes/"+id+"/continuations", `{"reason":"idle"}`).fields(t)["snapshotID"].(string)
	tests := []struct{ name, path, body, another string }{
		{"fork", "/sandboxes/" + id + "/fork", `{"count":2}`, `{"count":3}`},
		{"snapshot", "/sandboxes/" + id + "/snapshots", `{}`, `{"name":"b"}`},
		{"follow-up", "/sandboxes/followups", `{"snapshotID":"` + continuation + `"}`, `{"snapshotID":"` + continuation + `","createRequest":{"timeout":1}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			send := func(path, body, key string) reply { return n.do("POST", path, body, "Idempotency-Key", key) }
			first := send(tt.path, tt.body, tt.name)
			if again := send(tt.path, tt.body, tt.name); again.code != http.StatusCreated || again.body != first.body {
				t.Errorf("again: %d %s, first %s", again.code, again.body, first.body)
			}
			if next := send(tt.path, tt.body, tt.name+"-2"); next.code != http.StatusCreated || next.body == first.body {
				t.Errorf("another key: %d %s", next.code, next.body)
			}
			elsewhere := strings.Replace(tt.path, id, other, 1)
			for _, r := range []reply{send(tt.path, tt.another, tt.name), send("/v2/sandboxes", `{"templateID":"base"}`, tt.name)} {
				if r.code != 422 || !strings.Contains(r.body, "idempotency_request_mismatch") {
					t.Errorf("another request: %d %s", r.code, r.body)
				}
			}
			if elsewhere != tt.path {
				if r := send(elsewhere, tt.body, tt.name); r.code != 422 {
					t.Errorf("another sandbox: %d %s", r.code, r.body)
				}
			}
			if r := send(tt.path, tt.body, "NO"); r.code != 400 {
				t.Errorf("a key in upper case: %d %s", r.code, r.body)
			}
		})
	}
}
