package e2b

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// TestARequestThatAPauseCuts had been sent, and has no answer yet. It is sent again
// if that is safe and the sandbox runs; its client never sees internal states.
func TestARequestThatAPauseCuts(t *testing.T) {
	tests := []struct {
		name, method, body string
		header             []string
		auto               bool
		code               int
		message            string
		sent               int32
	}{
		{"GET", "GET", "", nil, true, 200, "second", 2},
		{"GET of a plain sandbox", "GET", "", nil, false, 502, "The sandbox was not found", 1},
		{"POST may have had its effect", "POST", "x", nil, true, 502, "The sandbox was not found", 1},
		{"POST without a body", "POST", "", nil, true, 502, "The sandbox was not found", 1},
		{"POST that says that it may be sent again", "POST", "", []string{"Idempotency-Key", "1"}, true, 200, "second", 2},
		{"but its body was read", "POST", "x", []string{"Idempotency-Key", "1"}, true, 502, "The sandbox was not found", 1},
		{"without the token", "GET", "", []string{"X-Access-Token", ""}, true, 403, "x-access-token", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, n *node) {
				id := n.sleeper()
				n.do("POST", "/v2/sandboxes/"+id+"/connect", "")
				n.Edit(id, func(sb *sandbox.Sandbox) { sb.AutoResume = tt.auto })
				before := n.Transitions.Resumes()
				var sent atomic.Int32
				began := make(chan struct{})
				n.Listen(id, envd.Port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if sent.Add(1) == 1 {
						close(began)
						<-r.Context().Done()
						return
					}
					_, _ = w.Write([]byte("second"))
				}))
				got := make(chan reply, 1)
				go func() {
					req, _ := http.NewRequestWithContext(t.Context(), tt.method, n.url+"/x", strings.NewReader(tt.body))
					got <- n.send(req, append(withToken(id), tt.header...)...)
				}()
				<-began
				if err := n.Pause(context.Background(), id, true); err != nil {
					t.Fatal(err)
				}
				within(t, time.Minute, "an answer", func() {
					if r := <-got; r.code != tt.code || !strings.Contains(r.body, tt.message) || sent.Load() != tt.sent {
						t.Errorf("%d %s, sent %d times", r.code, r.body, sent.Load())
					}
				})
				if woken := n.Transitions.Resumes() - before; woken != int(tt.sent)-1 {
					t.Errorf("%d resumes", woken)
				}
			})
		})
	}
}
