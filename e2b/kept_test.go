package e2b

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// askPort sends a request to a port of a sandbox, with a body unless that is empty.
func (n *node) askPort(method, id, port, body string, header ...string) reply {
	n.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.url+"/health", in)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.send(req, append([]string{envd.SandboxIDHeader, id, envd.SandboxPortHeader, port}, header...)...)
}

func TestConnectionsAreKeptForRequestsThatMayBeSentTwice(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, agentHandler(id))
	ten := func(method, port, body string, header ...string) int {
		before := n.Dials()
		for range 10 {
			if r := n.askPort(method, id, port, body, header...); r.code != 204 {
				t.Fatalf("%d %s", r.code, r.body)
			}
		}
		return n.Dials() - before
	}
	for name, tc := range map[string]struct {
		method, port, body string
		header             []string
		want               int
	}{
		"the agent":                 {"GET", "49983", "", nil, 1},
		"a port":                    {"GET", "80", "", nil, 1},
		"a request with an effect":  {"POST", "80", "", nil, 10},
		"a body":                    {"GET", "80", "x", nil, 10},
		"a change of the protocol":  {"GET", "80", "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 10},
		"a login of a connection":   {"GET", "80", "", []string{"Authorization", "NTLM TlRMTVNTUAAB"}, 10},
		"another such login":        {"GET", "80", "", []string{"Authorization", "negotiate YII="}, 10},
		"a login of a request":      {"GET", "80", "", []string{"Authorization", "Bearer x"}, 1},
		"a body that has a name":    {"POST", "80", "x", []string{"Idempotency-Key", "k"}, 10},
		"an effect that has a name": {"POST", "80", "", []string{"Idempotency-Key", "k"}, 1},
	} {
		n.Edit(id, func(sb *sandbox.Sandbox) { sb.StartedAt = sb.StartedAt.Add(time.Minute) }) // The next run has new connections.
		if got := ten(tc.method, tc.port, tc.body, tc.header...); got != tc.want {
			t.Errorf("%s: 10 requests took %d connections, want %d", name, got, tc.want)
		}
	}
}

// answers reads requests from a connection and answers each, at most so many.
func answers(c net.Conn, most int) {
	in := bufio.NewReader(c)
	for range most {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

func TestAProgramMayCloseAConnectionWithoutAWord(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.tcp(id, 80, func(c *net.TCPConn) { answers(c, 1) })
	for i := range 300 {
		method, body := http.MethodGet, ""
		if i%3 == 0 {
			method, body = http.MethodPost, "x"
		}
		if r := n.askPort(method, id, "80", body); r.code != 200 || r.body != "ok" {
			t.Fatalf("%s %d: %d %s", method, i, r.code, r.body)
		}
	}
}

// A program that serves one connection until its end, and then the next, serves all clients.
func TestAKeptConnectionEndsForTheNextClient(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.ListenOn(id, 80, ln)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			answers(c, 1000)
			c.Close()
		}
	}()
	within(t, time.Minute, "the answers", func() {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodGet, http.MethodGet, http.MethodPost} {
			if r := n.askPort(method, id, "80", ""); r.code != 200 || r.body != "ok" {
				t.Errorf("%s: %d %s", method, r.code, r.body)
			}
		}
	})
}

// As many connections are kept as there were requests at the same time.
func TestConnectionsOfManyClientsAreKept(t *testing.T) {
	const clients = 16
	n := newNode(t, Config{})
	id := n.sandbox()
	came, answer := make(chan struct{}), make(chan struct{})
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came <- struct{}{}
		<-answer
		w.WriteHeader(http.StatusNoContent)
	}))
	within(t, time.Minute, "a round without a new connection", func() {
		for before, dials := -1, 0; before != dials && !t.Failed(); {
			before = n.Dials()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					if r := n.askPort(http.MethodGet, id, "80", ""); r.code != 204 {
						t.Errorf("%d %s", r.code, r.body)
					}
				})
			}
			for range clients {
				<-came
			}
			for range clients {
				answer <- struct{}{}
			}
			wg.Wait()
			dials = n.Dials()
		}
	})
}
