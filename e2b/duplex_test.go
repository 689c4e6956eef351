package e2b

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

// A program in the sandbox may answer before the request has ended, as the
// agent does to a streaming call; the rest of the request must still get through.
func TestAnswerBeforeTheEndOfTheRequest(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		answered := make(chan struct{})
		n.Listen(id, 8080, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			in := bufio.NewReader(r.Body)
			for i := range 2 {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Errorf("the sandbox reads %q, %v", line, err)
					return
				}
				io.WriteString(w, "got "+line)
				w.(http.Flusher).Flush()
				if i == 0 {
					close(answered)
				}
			}
		}))
		body, send := io.Pipe()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", body)
		req.Header.Set(envd.SandboxIDHeader, id)
		req.Header.Set(envd.SandboxPortHeader, "8080")
		go func() {
			io.WriteString(send, "one\n")
			<-answered
			io.WriteString(send, "two\n")
			send.Close()
		}()
		within(t, time.Minute, "the exchange", func() {
			resp, err := n.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if out, err := io.ReadAll(resp.Body); string(out) != "got one\ngot two\n" || err != nil {
				t.Errorf("got %q, %v", out, err)
			}
		})
	})
}

// A client that keeps its request open gets its answer all the same.
func TestAnswerToARequestThatDoesNotEnd(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 8080, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "enough") }))
	body, send := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", body)
	req.Header.Set(envd.SandboxIDHeader, id)
	req.Header.Set(envd.SandboxPortHeader, "8080")
	go io.WriteString(send, "one\n")
	defer send.Close()
	within(t, time.Minute, "the answer", func() {
		resp, err := n.client.Do(req)
		if err != nil {
			return // refused, in time
		}
		defer resp.Body.Close()
		if out, err := io.ReadAll(resp.Body); err == nil && string(out) != "enough" {
			t.Errorf("got %q", out)
		}
	})
}

// The rest of a request goes into the sandbox and not elsewhere once the answer
// has begun.
func TestARequestIsWholeAlthoughItsAnswerBegan(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 8080, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.WriteString(w, "read ")
		w.(http.Flusher).Flush()
		size, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, size, err)
	}))
	const size = 8 << 20
	for range 5 {
		body := io.LimitReader(endless{}, size) // chunked: its length is not known
		req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/", body)
		req.Header.Set(envd.SandboxIDHeader, id)
		req.Header.Set(envd.SandboxPortHeader, "8080")
		resp, err := n.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprint("read ", size, nil); string(out) != want || err != nil {
			t.Fatalf("got %q, %v; want %q", out, err, want)
		}
	}
}
