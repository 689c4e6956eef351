package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/sandbox"
)

// busyGuest answers any number of requests on a connection, each after a
// millisecond, so that a pause meets some that have not been answered.
func busyGuest(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.URL.Path == envd.InitPath {
			_ = json.NewDecoder(req.Body).Decode(&envd.InitRequest{})
		}
		_, _ = io.Copy(io.Discard, req.Body)
		<-time.After(time.Millisecond)
		if _, err := fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// TestARequestInFlightThroughPausesGetsAnAnswerThatClientsKnow: whatever it meets,
// it is an answer of the sandbox or that it was not found, and one that may be sent
// twice to a sandbox that traffic resumes is always answered by it.
func TestARequestInFlightThroughPausesGetsAnAnswerThatClientsKnow(t *testing.T) {
	const pauses = 200
	_, n := newServing(t)
	defer func() { _ = n.Close(node.EndAll) }()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- e2b.NewServer(e2b.Config{Grace: time.Second}, n.Runtime, &e2b.MemoryKeys{}).Serve(ctx, ln)
	}()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	for name, auto := range map[string]bool{"auto-resuming": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "base", Timeout: time.Hour, AutoResume: auto})
			if err != nil {
				t.Fatal(err)
			}
			ctx, enough := context.WithCancel(t.Context())
			f := &inFlight{url: "http://" + ln.Addr().String(), id: sb.ID, seen: map[string]int{}}
			var clients sync.WaitGroup
			for _, port := range []string{"49983", "80"} {
				for _, method := range []string{"GET", "GET", "POST", "POST"} {
					clients.Go(func() { f.ask(ctx, t, method, port) })
				}
			}
			for range pauses {
				if err := n.Runtime.Pause(t.Context(), sb.ID, true); err != nil {
					t.Fatal(err)
				}
				f.more(t)
				if _, _, err := n.Runtime.Connect(t.Context(), sb.ID, time.Hour); err != nil {
					t.Fatal(err)
				}
				f.more(t)
			}
			enough()
			clients.Wait()
			for answer, times := range f.seen {
				method, what, _ := strings.Cut(answer, " ")
				if what != "204" && (what != "502 The sandbox was not found" || auto && method == "GET") {
					t.Errorf("%d times: %s", times, answer)
				}
			}
			t.Log(f.seen)
		})
	}
}

// inFlight counts what clients of a sandbox are answered.
type inFlight struct {
	url, id string
	mu      sync.Mutex
	seen    map[string]int
	all     int
}

// ask sends one request after the other until ctx ends.
func (f *inFlight) ask(ctx context.Context, t *testing.T, method, port string) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(t.Context(), method, f.url+"/x", strings.NewReader(strings.Repeat("x", len(method)-3)))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set(envd.SandboxIDHeader, f.id)
		req.Header.Set(envd.SandboxPortHeader, port)
		// One address may cause a few resumes in a second only. A proxy on this machine says on whose behalf it asks.
		req.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", rand.N(256)))
		answer := method + " "
		var refusal struct{ Message string }
		switch resp, err := client.Do(req); {
		case err != nil:
			answer += err.Error()
		default:
			answer += fmt.Sprint(resp.StatusCode)
			if json.NewDecoder(resp.Body).Decode(&refusal) == nil {
				answer += " " + refusal.Message
			}
			resp.Body.Close()
		}
		f.mu.Lock()
		f.seen[answer]++
		f.all++
		f.mu.Unlock()
	}
}

// more returns when some more requests were answered.
func (f *inFlight) more(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	begin := f.all
	f.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); ; {
		f.mu.Lock()
		all := f.all
		f.mu.Unlock()
		if all >= begin+8 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d requests were answered", all-begin)
		}
		<-time.After(time.Millisecond)
	}
}
