package e2b

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/e2b/internal/conns"
	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/sandbox"
)

func TestRequestHeadersAreBounded(t *testing.T) {
	n := newNode(t, Config{})
	get := func(fields int, length int) *http.Response {
		var b strings.Builder
		for i := range fields {
			fmt.Fprintf(&b, "X-%d: %s\r\n", i, strings.Repeat("a", length))
		}
		c, resp := n.raw("GET /health HTTP/1.1\r\nHost: x\r\n" + b.String() + "\r\n")
		c.Close()
		return resp
	}
	for _, tt := range []struct {
		name           string
		fields, length int
		code           int
	}{
		{"ordinary", 20, 100, 200},
		{"large", 2, 62000, 200},
		{"too large", 2, 70000, 431},
		{"too many fields", 4000, 1, 431},
	} {
		if resp := get(tt.fields, tt.length); resp.StatusCode != tt.code {
			t.Errorf("%s: %s", tt.name, resp.Status)
		}
	}
}

// Requests that wait for an answer are counted, by address, and those with a key
// apart from the others.
func TestRequestsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyless(t)
		k.s.requests = requests{quota.NewBudget(4*requestCost+4096, 2*requestCost+2048), quota.NewBudget(4*requestCost+4096, 2*requestCost+2048)}
		sb, err := k.rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Secure: true, AutoResume: true})
		if err == nil {
			err = k.rt.Pause(t.Context(), sb.ID, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		release := k.rt.Transitions.Hold()
		codes := make(chan int)
		waits := func(peer string) {
			go func() { codes <- k.ask(peer, "GET", "http://80-"+sb.ID+".sb.test/").Code }()
			synctest.Wait()
		}
		waits("192.0.2.1")
		waits("192.0.2.1")
		if w := k.ask("192.0.2.1", "GET", "/health"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("more than its share: %d %s", w.Code, w.Body)
		}
		if w := k.ask("192.0.2.1", "GET", "/v2/sandboxes", "X-API-Key", k.key); w.Code != 200 {
			t.Errorf("with a key: %d %s", w.Code, w.Body)
		}
		toAgent := fmt.Sprintf("http://49983-%s.sb.test/init", sb.ID)
		if w := k.ask("192.0.2.1", "GET", toAgent, "X-Access-Token", "token-"+sb.ID); w.Code != 404 {
			t.Errorf("with the token of the sandbox: %d %s", w.Code, w.Body)
		}
		if w := k.ask("192.0.2.1", "GET", toAgent, "X-Access-Token", "token-"); w.Code != 503 {
			t.Errorf("with a wrong token: %d %s", w.Code, w.Body)
		}
		waits("192.0.2.2")
		waits("192.0.2.2")
		if w := k.ask("192.0.2.3", "GET", "/health"); w.Code != 503 {
			t.Errorf("more than all: %d", w.Code)
		}
		if w := k.ask("192.0.2.3", "GET", "/v2/sandboxes", "X-API-Key", k.key); w.Code != 200 {
			t.Errorf("with a key, when there are too many: %d %s", w.Code, w.Body)
		}
		release()
		for range 4 {
			<-codes
		}
		if w := k.ask("192.0.2.3", "GET", "/health"); w.Code != 200 || k.s.requests.strangers.Used() != 0 {
			t.Errorf("afterwards: %d, %d bytes", w.Code, k.s.requests.strangers.Used())
		}
	})
}

// A connection that has shown a key takes nothing from those that have not. Until the
// server has its keys, none can be shown.
func TestRequestsOfAKeyAreCountedApart(t *testing.T) {
	s := NewStarting(Config{})
	r := httptest.NewRequest("GET", "/v2/sandboxes", nil)
	r.Header.Set("X-API-Key", "e2b_any")
	client, far := net.Pipe()
	defer client.Close()
	defer far.Close()
	keyedContext := s.conns.Enter(t.Context(), client)
	s.conns.Raise(keyedContext, conns.Keyed)
	release, ok := s.admit(httptest.NewRecorder(), r.WithContext(keyedContext))
	if !ok || s.requests.known.Used() == 0 || s.requests.strangers.Used() != 0 {
		t.Fatalf("admitted %v, %d bytes of known clients, %d of others", ok, s.requests.known.Used(), s.requests.strangers.Used())
	}
	if release(); s.requests.known.Used() != 0 {
		t.Errorf("%d bytes are held in the end", s.requests.known.Used())
	}
	s.requests.strangers = quota.NewBudget(1<<20, requestCost+1000)
	for i, step := range []struct {
		from string
		ok   bool
	}{{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", false}, {"[2001:db8:0:1::1]:1", true}} {
		r := httptest.NewRequest("GET", "/health", nil)
		r.RemoteAddr = step.from
		if _, ok := s.admit(httptest.NewRecorder(), r); ok != step.ok {
			t.Errorf("%d, from %s: %v", i, step.from, ok)
		}
	}
	s.requests.strangers = quota.NewBudget(0, 0)
	w := httptest.NewRecorder()
	if _, ok := s.admit(w, r); ok || w.Code != http.StatusServiceUnavailable {
		t.Errorf("a key before the start is over: %v, %d", ok, w.Code)
	}
}

func TestLargeBodiesInFlightAreBoundedByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyless(t)
		_, other, err := k.s.callers.keys.Create(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		k.s.control.Bodies.Budget = quota.NewBudget(3*exchange.MaxBody, 2*exchange.MaxBody)
		post := func(key string, body io.Reader, length int64) *httptest.ResponseRecorder {
			w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/v2/sandboxes", body)
			r.ContentLength = length
			r.Header.Set("X-API-Key", key)
			k.s.ServeHTTP(w, r)
			return w
		}
		var writers []*io.PipeWriter
		codes := make(chan int)
		for _, length := range []int64{-1, exchange.MaxBody} { // They send, and do not end.
			rd, w := io.Pipe()
			writers = append(writers, w)
			go func() { codes <- post(k.key, rd, length).Code }()
		}
		synctest.Wait()
		large := `{"templateID":"base","metadata":{"a":"` + strings.Repeat("x", exchange.FreeBody) + `"}}`
		if w := post(k.key, strings.NewReader(large), int64(len(large))); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("more than its share: %d %s", w.Code, w.Body)
		}
		if w := post(k.key, strings.NewReader(`{"templateID":"base"}`), 21); w.Code != 201 {
			t.Errorf("a small one: %d %s", w.Code, w.Body)
		}
		if w := post(other, strings.NewReader(large), int64(len(large))); w.Code != 201 {
			t.Errorf("another key: %d %s", w.Code, w.Body)
		}
		for _, w := range writers {
			w.CloseWithError(io.ErrUnexpectedEOF)
			if code := <-codes; code != 400 {
				t.Errorf("a body that breaks off: %d", code)
			}
		}
		if k.s.control.Bodies.Budget.Used() != 0 {
			t.Errorf("%d bytes are still held", k.s.control.Bodies.Budget.Used())
		}
	})
}
