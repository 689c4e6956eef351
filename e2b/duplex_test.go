package e2b

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/dataplane"
)

// A program in the sandbox may answer before the request has ended, as the
// agent does to a streaming call; the rest of the request must still get through.
func TestAnswerBeforeTheEndOfTheRequest(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		n.Listen(id, 8080, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			in := bufio.NewReader(r.Body)
			for range 2 {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Errorf("the sandbox reads %q, %v", line, err)
					return
				}
				io.WriteString(w, "got "+line)
				w.(http.Flusher).Flush()
			}
		}))
		body, send := io.Pipe()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", body)
		req.Header.Set(dataplane.HeaderSandboxID, id)
		req.Header.Set(dataplane.HeaderSandboxPort, "8080")
		go io.WriteString(send, "one\n")
		within(t, 5*time.Second, "the exchange", func() {
			resp, err := n.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			out := bufio.NewReader(resp.Body)
			if line, err := out.ReadString('\n'); line != "got one\n" {
				t.Errorf("first %q, %v", line, err)
			}
			io.WriteString(send, "two\n")
			send.Close()
			if line, err := out.ReadString('\n'); line != "got two\n" {
				t.Errorf("then %q, %v", line, err)
			}
		})
	})
}
