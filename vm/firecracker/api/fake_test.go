package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// exchange is a request and its answer, as Firecracker 1.12.1 gave it: testdata/exchanges.jsonl was recorded, and is replayed here. What
// passes against this fake has not been shown of a real process: the tests of vm/firecracker do that.
type exchange struct {
	Method, Path, Body string
	Status             int
	Answer             string
}

// manner is how a fake process answers.
type manner int

const (
	asRecorded manner = iota
	twice             // as Firecracker answers a body that is too long
	cutBody           // ends the connection in the middle of an answer
	hang              // takes the request, and never answers
	dies              // takes the request, and ends the connection
	endless           // sends an answer without end
	otherwise         // answers that the connection speaks another protocol from now on, and then nothing
)

// fake is a process's socket. It takes one request at a time over all connections, as Firecracker does.
type fake struct {
	path string

	mu        sync.Mutex
	exchanges []exchange
	manner    manner
	seen      []string
	held      chan struct{}   // Closed when a request hangs.
	ctx       context.Context // Ends with the test.
}

func recorded(t testing.TB) (all []exchange) {
	t.Helper()
	f, err := os.Open("testdata/exchanges.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := json.NewDecoder(f); ; {
		var e exchange
		if err := lines.Decode(&e); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// newFake prefers the exchanges that are given to those that were recorded.
func newFake(t *testing.T, own ...exchange) *fake {
	t.Helper()
	f := &fake{path: filepath.Join(t.TempDir(), "api.sock"), exchanges: append(own, recorded(t)...), held: make(chan struct{}), ctx: t.Context()}
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.serve(conn, stop) })
		}
	})
	t.Cleanup(func() {
		close(stop)
		l.Close()
		all.Wait()
	})
	return f
}

func (f *fake) as(m manner) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.manner = m
}

func (f *fake) serve(conn net.Conn, stop <-chan struct{}) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.seen = append(f.seen, r.Method+" "+r.URL.Path+" "+string(body))
		how, answer := f.manner, f.answer(r.Method, r.URL.Path, string(body))
		f.mu.Unlock()
		switch how {
		case hang:
			close(f.held)
			<-stop
			return
		case dies:
			return
		case cutBody:
			fmt.Fprint(conn, answer[:len(answer)-2])
			return
		case endless:
			_, err := fmt.Fprint(conn, "HTTP/1.1 200 \r\nConnection: close\r\n\r\n{\"state\":\"")
			for err == nil {
				_, err = conn.Write([]byte(strings.Repeat("x", 1<<16)))
			}
			return
		case otherwise:
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
			// Until the client, or the test, has gone.
			context.AfterFunc(f.ctx, func() { conn.Close() })
			_, _ = io.Copy(io.Discard, conn)
			return
		case twice:
			fmt.Fprint(conn, answer, answer)
		default:
			fmt.Fprint(conn, answer)
		}
	}
}

// answer is what Firecracker would write, by the form of its server.
func (f *fake) answer(method, path, body string) string {
	status, text := 400, fmt.Sprintf(`{"fault_message":"Invalid request method and/or path: %s %s."}`, method, strings.TrimPrefix(path, "/"))
	for _, e := range f.exchanges {
		if e.Method == method && e.Path == path && alike(e.Body, body) {
			status, text = e.Status, e.Answer
			break
		}
	}
	if status == http.StatusNoContent {
		return "HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"
	}
	return fmt.Sprintf("HTTP/1.1 %d \r\nServer: Firecracker API\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(text), text)
}

// alike compares JSON without its order.
func alike(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return a == b
	}
	return reflect.DeepEqual(x, y)
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.seen...)
}
