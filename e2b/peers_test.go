package e2b

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
	"github.com/rundlet/rundlet/sandbox"
)

func TestPeerOfARequest(t *testing.T) {
	p := newPeers([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	tests := []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"a client", "192.0.2.1:5", nil, "192.0.2.1"},
		{"a client that claims to be another", "192.0.2.1:5", []string{"198.51.100.7"}, "192.0.2.1"},
		{"behind a proxy here", "127.0.0.1:5", []string{"198.51.100.7"}, "198.51.100.7"},
		{"behind a proxy here, by IPv6", "[::1]:5", []string{"198.51.100.7"}, "198.51.100.7"},
		{"behind a proxy that was configured", "10.1.2.3:5", []string{"198.51.100.7"}, "198.51.100.7"},
		{"behind two", "127.0.0.1:5", []string{"203.0.113.9, 198.51.100.7, 10.0.0.1"}, "198.51.100.7"},
		{"behind two, in two lines", "127.0.0.1:5", []string{"203.0.113.9", "198.51.100.7", "10.0.0.1"}, "198.51.100.7"},
		{"what the client said comes first", "127.0.0.1:5", []string{"127.0.0.1, 198.51.100.7"}, "198.51.100.7"},
		{"a program here", "127.0.0.1:5", nil, "127.0.0.1"},
		{"a proxy that does not know", "127.0.0.1:5", []string{"unknown"}, "127.0.0.1"},
		{"a proxy that adds the port", "127.0.0.1:5", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		{"a proxy that adds the port, of IPv6", "127.0.0.1:5", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"a proxy that writes brackets", "127.0.0.1:5", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"a zone, which may be any text", "127.0.0.1:5", []string{"fe80::7%e2b_" + strings.Repeat("0", 40)}, "fe80::7"},
		{"a zone and a port", "127.0.0.1:5", []string{"[fe80::7%any text]:4711"}, "fe80::7"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:5", nil, "192.0.2.1"},
		{"nothing", "@", nil, "invalid IP"},
		{"more proxies than are believed", "127.0.0.1:5", []string{"198.51.100.7," + strings.Repeat("10.0.0.1,", 100) + "10.0.0.1"}, "10.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.remote
			r.Header["X-Forwarded-For"] = tt.forwarded
			if got := p.of(r).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if len(tt.forwarded) > 0 && fmt.Sprint(r.Header["X-Forwarded-For"]) != fmt.Sprint(tt.forwarded) {
				t.Errorf("the request has %q now", r.Header["X-Forwarded-For"])
			}
		})
	}
}

// keyless is a server whose clock stands still, for requests from any address.
type keyless struct {
	t   *testing.T
	rt  *fakeruntime.Runtime
	s   *Server
	key string
}

func newKeyless(t *testing.T) *keyless {
	var keys MemoryKeys
	_, key, err := keys.Create(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	rt := &fakeruntime.Runtime{}
	k := &keyless{t, rt, NewServer(Config{}, rt, &keys), key}
	t.Cleanup(k.s.Close)
	return k
}

func (k *keyless) ask(peer, method, target string, header ...string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, target, nil)
	r.RemoteAddr = peer + ":1234"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	k.s.ServeHTTP(w, r)
	return w
}

// exhaust asks until it is refused, and checks how.
func (k *keyless) exhaust(code int, ask func() *httptest.ResponseRecorder) (times int) {
	k.t.Helper()
	for ; times <= keylessBurst; times++ {
		switch w := ask(); w.Code {
		case code:
		case http.StatusTooManyRequests:
			if n, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || n < 1 || !strings.Contains(w.Body.String(), "without an API key") {
				k.t.Errorf("Retry-After %q: %s", w.Header().Get("Retry-After"), w.Body)
			}
			return times
		default:
			k.t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	k.t.Fatal("there is no limit")
	return 0
}

func TestWrongKeysAreLimitedByPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyless(t)
		list := func(peer, key string) *httptest.ResponseRecorder {
			return k.ask(peer, "GET", "/v2/sandboxes", "X-API-Key", key)
		}
		if n := k.exhaust(http.StatusUnauthorized, func() *httptest.ResponseRecorder { return list("192.0.2.1", "e2b_wrong") }); n != keylessBurst {
			t.Errorf("%d wrong keys were looked at", n)
		}
		for range 2 * keylessBurst {
			if w := list("192.0.2.1", k.key); w.Code != 200 {
				t.Fatalf("a valid key behind the same address: %d %s", w.Code, w.Body)
			}
		}
		for _, peer := range []string{"192.0.2.2", "[2001:db8::1]"} {
			if w := list(peer, "e2b_wrong"); w.Code != 401 {
				t.Errorf("%s: %d", peer, w.Code)
			}
		}
		if w := k.ask("192.0.2.1", "GET", "/v2/sandboxes"); w.Code != 401 {
			t.Errorf("no key, which costs no work: %d", w.Code)
		}
		time.Sleep(time.Second)
		if w := list("192.0.2.1", "e2b_wrong"); w.Code != 401 {
			t.Errorf("a second later: %d", w.Code)
		}
	})
}

func TestWrongSignaturesAreLimitedByPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyless(t)
		if _, err := k.rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Secure: true}); err != nil {
			t.Fatal(err)
		}
		wrong := signedFile(signature.Request{Path: "a"}, "nobody")
		for range keylessBurst {
			if w := k.ask("192.0.2.1", "GET", wrong, "X-API-Key", k.key); w.Code != 401 {
				t.Fatalf("with a key: %d %s", w.Code, w.Body)
			}
		}
		n := k.exhaust(http.StatusUnauthorized, func() *httptest.ResponseRecorder { return k.ask("192.0.2.1", "GET", wrong) })
		if n != 10 { // 200 at once, 20 for a search; those with a key were not charged.
			t.Errorf("%d searches of all sandboxes, want 10", n)
		}
		if w := k.ask("192.0.2.1", "GET", wrong, "X-API-Key", k.key); w.Code != 401 {
			t.Errorf("with a key: %d %s", w.Code, w.Body)
		}
		if w := k.ask("192.0.2.2", "GET", wrong); w.Code != 401 {
			t.Errorf("a neighbour: %d %s", w.Code, w.Body)
		}
	})
}

// A sandbox that was there at the start, or that a client was shown since, needs no
// search.
func TestURLsOfSandboxesThatWereShownNeedNoSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyless(t)
		secured := func() string {
			sb, err := k.rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Secure: true})
			if err != nil {
				t.Fatal(err)
			}
			return sb.ID
		}
		early := secured()
		k.s = NewServer(Config{}, k.rt, k.s.callers.keys)
		defer k.s.Close()
		file := func(token string) *httptest.ResponseRecorder {
			return k.ask("192.0.2.1", "GET", signedFile(signature.Request{Path: "a"}, token))
		}
		k.exhaust(http.StatusUnauthorized, func() *httptest.ResponseRecorder { return file("nobody") })
		late := secured()
		if w := file("token-" + late); w.Code != http.StatusTooManyRequests {
			t.Fatalf("before it was shown: %d %s", w.Code, w.Body)
		}
		if w := k.ask("192.0.2.2", "GET", "/sandboxes/"+late, "X-API-Key", k.key); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/v2/sandboxes", strings.NewReader(`{"templateID":"base","secure":true}`))
		r.Header.Set("X-API-Key", k.key)
		k.s.ServeHTTP(w, r)
		var made struct{ SandboxID string }
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for what, id := range map[string]string{"there at the start": early, "asked about": late, "created": made.SandboxID} {
			if w := file("token-" + id); w.Code != http.StatusBadGateway { // Its agent is not there.
				t.Errorf("%s: %d %s", what, w.Code, w.Body)
			}
		}
	})
}

// counting counts the keys that are looked up.
type counting struct {
	MemoryKeys
	verified atomic.Int64
}

func (c *counting) Verify(ctx context.Context, text string) (Key, error) {
	c.verified.Add(1)
	return c.MemoryKeys.Verify(ctx, text)
}

func TestWhatIsTooLongForAKeyIsNotLookedUp(t *testing.T) {
	keys := &counting{}
	s := NewServer(Config{}, &fakeruntime.Runtime{}, keys)
	defer s.Close()
	for length, want := range map[int]int64{maxKeyLength: 2, maxKeyLength + 1: 0} {
		keys.verified.Store(0)
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/v2/sandboxes", nil)
		r.Header.Set("X-API-Key", strings.Repeat("a", length))
		if s.ServeHTTP(w, r); w.Code != http.StatusUnauthorized || s.callers.hasKey(r) {
			t.Errorf("%d characters: %d %s", length, w.Code, w.Body)
		}
		if n := keys.verified.Load(); n != want {
			t.Errorf("%d characters: looked up %d times, want %d", length, n, want)
		}
	}
}

// A client that knows public addresses of sandboxes cannot have all of them resumed.
func TestWakesWithoutATokenAreLimitedByPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyless(t)
		paused := func() string {
			sb, err := k.rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Secure: true, AutoResume: true})
			if err == nil {
				err = k.rt.Pause(t.Context(), sb.ID, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			return sb.ID
		}
		wake := func(id, peer string, port int, header ...string) *httptest.ResponseRecorder {
			return k.ask(peer, "GET", fmt.Sprintf("http://%d-%s.sb.test/", port, id), header...)
		}
		n := k.exhaust(http.StatusBadGateway, func() *httptest.ResponseRecorder { // It runs, and the port is closed.
			return wake(paused(), "192.0.2.1", 80)
		})
		resumed := k.rt.Transitions.Resumes()
		if resumed != n || n != 50 { // 200 at once, 4 for a resume.
			t.Errorf("%d resumes of %d, want 50", resumed, n)
		}
		last := paused()
		if w := wake(last, "192.0.2.1", 80); w.Code != 429 || k.rt.Transitions.Resumes() != resumed {
			t.Errorf("%d, %d resumes", w.Code, k.rt.Transitions.Resumes()-resumed)
		}
		if w := wake(last, "192.0.2.1", 80, "X-API-Key", k.key); w.Code != 502 {
			t.Errorf("with a key: %d %s", w.Code, w.Body)
		}
		if w := wake(paused(), "192.0.2.2", 80); w.Code != 502 {
			t.Errorf("a neighbour: %d %s", w.Code, w.Body)
		}
		resumed = k.rt.Transitions.Resumes()
		n = k.exhaust(http.StatusBadGateway, func() *httptest.ResponseRecorder { // Its agent needs no token, and is not there.
			id := paused()
			k.rt.Edit(id, func(sb *sandbox.Sandbox) { sb.EnvdAccessToken = "" })
			return wake(id, "192.0.2.3", envd.Port, "X-Access-Token", "anything")
		})
		if got := k.rt.Transitions.Resumes() - resumed; got != n || n != 50 {
			t.Errorf("%d resumes of %d of open sandboxes, want 50", got, n)
		}
		id := paused()
		if w := wake(id, "192.0.2.1", envd.Port, "X-Access-Token", "token-"+id); w.Code != 502 {
			t.Errorf("with the token of the sandbox: %d %s", w.Code, w.Body)
		}
		id = paused()
		k.rt.Edit(id, func(sb *sandbox.Sandbox) { sb.TrafficAccessToken = "traffic" })
		if w := wake(id, "192.0.2.1", 80, "E2b-Traffic-Access-Token", "traffic"); w.Code != 502 {
			t.Errorf("with the traffic token of the sandbox: %d %s", w.Code, w.Body)
		}
	})
}
