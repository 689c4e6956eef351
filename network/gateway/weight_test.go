package gateway

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Requests with large headers take little at a time, and what they took comes back, on the same connection.
func TestHeadersUnderWayAreBounded(t *testing.T) {
	i := newIntercepting(t, 443)
	entered := make(chan bool, streams)
	o := newOrigin(t, i.theirs, "a.example", true, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			entered <- true
			<-r.Context().Done()
		}
	})
	i.host("a.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	client := i.client("h2")
	ask(t, client, request(t, "GET", "https://a.example/", nil)) // All use its connection.
	const large, room = 50 << 10, mostHeaders / (50 << 10)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range room {
			wg.Go(func() {
				req := request(t, "POST", "https://a.example/", nil, "X-Large", strings.Repeat("x", large)).WithContext(ctx)
				if resp, err := client.Do(req); err == nil {
					resp.Body.Close()
					t.Errorf("%s while there is room", resp.Status)
				}
			})
		}
		for range room {
			<-entered
		}
		for _, text := range []string{strings.Repeat("x", large), strings.Repeat("x,", large/2)} {
			resp, _ := ask(t, client, request(t, "GET", "https://a.example/", nil, "X-Large", text))
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("one more: %s", resp.Status)
			}
		}
		if resp, _ := ask(t, client, request(t, "GET", "https://a.example/", nil, "X-Small", "y")); resp.StatusCode != http.StatusOK {
			t.Errorf("a small one: %s", resp.Status)
		}
		cancel()
		wg.Wait()
		for deadline := time.Now().Add(bound); ; runtime.Gosched() {
			resp, _ := ask(t, client, request(t, "GET", "https://a.example/", nil, "X-Large", strings.Repeat("x", large)))
			if resp.StatusCode == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("what ended is counted: %s", resp.Status)
			}
		}
	}
	if n := len(o.requests()); n != 1+2*(room+2) {
		t.Errorf("the host gets %d requests", n)
	}
	i.wantDials("a.example:443")
}
