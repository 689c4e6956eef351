package e2b

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
)

// journal has the requests that a server has logged.
type journal struct {
	ended chan Access
}

func logging(cfg Config) (Config, *journal) {
	j := &journal{ended: make(chan Access, 1000)}
	cfg.Access = func(a Access) { j.ended <- a }
	return cfg, j
}

// next is the next request, without what differs each time.
func (j *journal) next(t *testing.T) Access {
	t.Helper()
	select {
	case a := <-j.ended:
		if a.Time.Location() != time.UTC || time.Since(a.Time) > time.Minute || a.DurationMS < 0 || !strings.HasPrefix(a.Peer, "127.0.0.1:") {
			t.Errorf("%+v", a)
		}
		a.Time, a.DurationMS, a.Peer = time.Time{}, 0, ""
		return a
	case <-time.After(time.Minute):
		t.Fatal("the request is not logged")
		return Access{}
	}
}

func (j *journal) want(t *testing.T, want Access) {
	t.Helper()
	if got := j.next(t); got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

const agentName = "Go-http-client/1.1"

func TestEveryRequestIsLogged(t *testing.T) {
	cfg, j := logging(Config{Domain: "sb.test"})
	n := newNode(t, cfg)
	n.t = t
	keys, err := n.server.callers.keys.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := n.sandbox()
	made := j.next(t)
	if made.KeyID != keys[0].ID || made.Method != "POST" || made.Kind != AccessAPI || made.Path != "/v2/sandboxes" || made.Status != 201 || made.BytesIn != int64(len(`{"templateID":"base"}`)) || made.BytesOut == 0 {
		t.Errorf("%+v", made)
	}
	n.Listen(id, 8000, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, "hello")
	}))
	port := "8000-" + id + ".sb.test"
	api, agent := Access{Kind: AccessAPI, UserAgent: agentName}, Access{Kind: AccessAgent, SandboxID: id, Port: envd.Port, UserAgent: agentName}
	program := Access{Kind: AccessPort, SandboxID: id, Port: 8000, UserAgent: agentName}
	with := func(a Access, method, path string, status int, in, out int64) Access {
		a.Method, a.Path, a.Status, a.BytesIn, a.BytesOut = method, path, status, in, out
		return a
	}
	keyed := api
	keyed.KeyID = keys[0].ID

	r := n.do("GET", "/sandboxes/"+id+"?a=secret", "")
	j.want(t, with(keyed, "GET", "/sandboxes/"+id, 200, 0, int64(len(r.body))))
	r = n.plain("GET", "/sandboxes")
	j.want(t, with(api, "GET", "/sandboxes", 401, 0, int64(len(r.body))))
	r = n.do("GET", "/nothing/here", "")
	j.want(t, with(keyed, "GET", "/nothing/here", 404, 0, int64(len(r.body))))
	r = n.plain("GET", "/health")
	j.want(t, with(api, "GET", "/health", r.code, 0, int64(len(r.body))))
	n.do("POST", "/echo", "12345", toAgent(id)...)
	j.want(t, with(agent, "POST", "/echo", 200, 5, 5))
	n.plain("GET", "/a%20b?token=secret", "Host", port)
	j.want(t, with(program, "GET", "/a%20b", 200, 0, 5))
	n.plain("POST", "/fail", "Host", port)
	j.want(t, with(program, "POST", "/fail", 418, 0, 5))
	n.plain("HEAD", "/", "Host", port)
	j.want(t, with(program, "HEAD", "/", 200, 0, 0))
	n.plain("GET", "/sandbox-proxy/"+id+"/ports/8000/x?y=secret")
	j.want(t, with(program, "GET", "/sandbox-proxy/"+id+"/ports/8000/x", 200, 0, 5))
	r = n.plain("GET", "/x", "Host", "8000-unknown.sb.test")
	unknown := program
	unknown.SandboxID = "unknown"
	j.want(t, with(unknown, "GET", "/x", 502, 0, int64(len(r.body))))
	signed := signedFile(signature.Request{Path: "a"}, "token-"+id)
	r = n.plain("GET", signed)
	j.want(t, with(agent, "GET", "/files", 200, 0, int64(len(r.body))))
	r = n.plain("GET", "/files?path=a&signature=v1_x")
	j.want(t, with(api, "GET", "/files", 401, 0, int64(len(r.body))))
}

// A client of a proxy on this machine is named by the proxy.
func TestTheClientOfAProxyIsLogged(t *testing.T) {
	cfg, j := logging(Config{})
	n := newNode(t, cfg)
	n.plain("GET", "/health", "X-Forwarded-For", "203.0.113.7")
	if a := j.next(t); a.Client != "203.0.113.7" {
		t.Errorf("%+v", a)
	}
	n.plain("GET", "/health", "X-Forwarded-For", "nonsense")
	if a := j.next(t); a.Client != "" {
		t.Errorf("%+v", a)
	}
}

// Of a connection that speaks another protocol, the bytes behind the request count.
func TestTunnelsAndUpgradesAreLoggedWhenTheyEnd(t *testing.T) {
	cfg, j := logging(Config{})
	n := newNode(t, cfg)
	id := n.sandbox()
	j.next(t)
	n.tcp(id, 22, echo)
	keys, _ := n.server.callers.keys.List(t.Context())
	const answer = "HTTP/1.1 200 Connection established\r\n\r\necho first second"
	for range 2 {
		c, r, _ := n.dig(id+":22", n.withKey(), "first ")
		select {
		case a := <-j.ended:
			t.Fatalf("%+v is logged before its end", a)
		default:
		}
		_, _ = io.WriteString(c, "second")
		_ = c.(*net.TCPConn).CloseWrite()
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		j.want(t, Access{KeyID: keys[0].ID, Method: "CONNECT", Kind: AccessPort, SandboxID: id, Port: 22, Status: 200, BytesIn: 12, BytesOut: int64(len(answer))})
	}
	_, _, resp := n.dig(id+":22", "", "")
	body, _ := io.ReadAll(resp.Body)
	j.want(t, Access{Method: "CONNECT", Kind: AccessPort, SandboxID: id, Port: 22, Status: 407, BytesOut: int64(len(body))})

	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, "you said "+line)
	}))
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "GET /ws?token=secret HTTP/1.1\r\nHost: 80-%s.e2b.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", id)
	all := make([]byte, len("HTTP/1.1 101"))
	if _, err := io.ReadFull(c, all); err != nil { // Now it is another protocol.
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "hello\n")
	rest, _ := io.ReadAll(c)
	all = append(all, rest...)
	if !strings.HasSuffix(string(all), "you said hello\n") {
		t.Fatalf("%q", all)
	}
	c.Close() // Until then the request has not ended.
	j.want(t, Access{Method: "GET", Kind: AccessPort, Path: "/ws", SandboxID: id, Port: 80, Status: 101, BytesIn: 6, BytesOut: int64(len(all))})
}

func TestAnAnswerThatIsBrokenOffIsLoggedAsThat(t *testing.T) {
	cfg, j := logging(Config{})
	n := newNode(t, cfg)
	id := n.sandbox()
	j.next(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", n.url+"/stream", nil)
	for i, h := 0, toAgent(id); i < len(h); i += 2 {
		req.Header.Set(h[i], h[i+1])
	}
	resp, err := n.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "first\n" {
		t.Fatal(line, err)
	}
	if err := n.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	n.server.proxy.Drop(id)
	j.want(t, Access{Method: "GET", Kind: AccessAgent, Path: "/stream", SandboxID: id, Port: envd.Port, Status: 200, BytesOut: 6, BrokenOff: true, UserAgent: agentName})
}

// Clients choose paths, methods and names of programs, and put secrets where none belong.
func TestTheLogHasNoSecretsAndIsBounded(t *testing.T) {
	cfg, j := logging(Config{})
	n := newNode(t, cfg)
	id := n.sandbox()
	j.next(t)
	n.Listen(id, 80, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	token := strings.Repeat("0123456789abcdef", 4)
	escaped := strings.Replace(n.key, "_", "%5F", 1)
	for _, c := range []struct{ method, path, agent, wantMethod, wantPath, wantAgent string }{
		{"GET", "/a/" + n.key + "/b", "x", "GET", "/a/.../b", "x"},
		{"GET", "/a/" + escaped, "x", "GET", "...", "x"},
		{"GET", "/a/" + strings.ToUpper(token), n.key + " y", "GET", "/a/...", "... y"},
		{"GET", "/files%3Fsignature=v1_secret", "x", "GET", "/files", "x"},
		{"GET", "/files%3fsignature=v1_secret?x", "x", "GET", "/files", "x"},
		{"GET", "/files%253Fsignature=v1_secret", "x", "GET", "/files", "x"},
		{"GET", "/files%2525253fsignature=v1_secret", "x", "GET", "/files", "x"},
		{"GET", "/%253/%25/%2541%C3%BF", "x", "GET", "/%253/%25/%2541%C3%BF", "x"},
		{"GET", "/" + strings.Repeat("z", 3000), strings.Repeat("y", 3000), "GET", "/" + strings.Repeat("z", maxAccessPath-1), strings.Repeat("y", maxAccessText)},
		{"GET", "/%0a%1b[2J/\u00e9", "a\u009b2J\tb\xff", "GET", "/%0A%1B%5B2J/%C3%A9", "a??2J?b?"},
		{strings.Repeat("M", 1000), "/", `{"a":"b"}`, strings.Repeat("M", maxAccessText), "/", `{"a":"b"}`},
		{n.key, "/", "", "...", "/", ""},
	} {
		for _, host := range []string{"127.0.0.1", "80-" + id + ".e2b.test"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n", c.method, c.path, host, c.agent)
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			got := j.next(t)
			if got.Method != c.wantMethod || got.UserAgent != c.wantAgent || got.Path != c.wantPath {
				t.Errorf("%.100s %.100s: %+v", c.method, c.path, got)
			}
			if text := fmt.Sprintf("%+v", got); strings.Contains(text, n.key) || strings.Contains(text, n.key[4:]) || strings.Contains(text, "secret") {
				t.Errorf("%.100s: a secret is in %s", c.path, text)
			}
		}
	}
	// One that is refused for its size is logged, too.
	r := n.plain("GET", "/x", "Large", strings.Repeat("x", 100<<10), "Host", "80-"+id+".e2b.test")
	if got := j.next(t); got.Status != r.code || got.SandboxID != id {
		t.Errorf("%+v, answered %d", got, r.code)
	}
}

// What net/http knows of a request by its own body and writer it knows of one that is logged, too.
func TestALoggedRequestIsServedAsOthers(t *testing.T) {
	cfg, j := logging(Config{})
	n := newNode(t, cfg)
	c, _ := n.raw("")
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	// A body that is far too large is not read to its end: the connection ends.
	fmt.Fprintf(c, "POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\n%sContent-Length: 2000000\r\n\r\n%s", n.withKey(), strings.Repeat(" ", 1<<20+1))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Errorf("%s, closes %v", resp.Status, resp.Close)
	}
	if got := j.next(t); got.Status != 413 || got.BytesIn < 1<<20 {
		t.Errorf("%+v", got)
	}
	// A client that waits to send its body sends none if it is refused.
	c, _ = n.raw("")
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if resp, err = http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("%v, %v", resp, err)
	}
	if got := j.next(t); got.Status != 401 || got.BytesIn != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRequestsOfHTTP2AreLogged(t *testing.T) {
	cfg, j := logging(Config{})
	n := newNode(t, cfg)
	id := n.sandbox()
	j.next(t)
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", n.url+"/echo?token=secret", strings.NewReader(strings.Repeat("x", 500)))
	for i, h := 0, toAgent(id); i < len(h); i += 2 {
		req.Header.Set(h[i], h[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); len(b) != 500 || err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	j.want(t, Access{
		Method: "POST", Kind: AccessAgent, Path: "/echo", SandboxID: id, Port: envd.Port, Status: 200, BytesIn: 500, BytesOut: 500, UserAgent: "Go-http-client/2.0",
	})
}

// BenchmarkAccess is what the log costs a request: all of one that needs no key, with and without a log.
func BenchmarkAccess(b *testing.B) {
	for name, access := range map[string]func(Access){"off": nil, "on": func(Access) {}} {
		b.Run(name, func(b *testing.B) {
			s := NewServer(Config{Access: access}, &fakeruntime.Runtime{}, &MemoryKeys{})
			defer s.Close()
			r := httptest.NewRequest("GET", "/health", nil)
			r.Header.Set("User-Agent", "e2b-python-sdk")
			w := &discarded{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				s.ServeHTTP(w, r)
			}
		})
	}
}

type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarded) WriteHeader(int)             {}
