package e2b

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

// A body of a known length comes as its program sends it.
func TestPartsOfABodyOfKnownLengthAreNotHeld(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		seen := make(chan struct{})
		n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "12")
			for _, part := range []string{"", "first\n", "other\n"} {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-seen:
				case <-r.Context().Done():
				}
			}
		}))
		within(t, time.Minute, "the parts", func() {
			req, _ := http.NewRequestWithContext(t.Context(), "GET", n.url+"/", nil)
			req.Header.Set(envd.SandboxIDHeader, id)
			req.Header.Set(envd.SandboxPortHeader, "80")
			resp, err := n.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			body := bufio.NewReader(resp.Body)
			for _, want := range []string{"first\n", "other\n"} {
				seen <- struct{}{}
				if line, err := body.ReadString('\n'); line != want {
					t.Errorf("%q, %v", line, err)
				}
			}
			seen <- struct{}{}
		})
	})
}
