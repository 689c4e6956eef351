package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

func (w *world) dialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.addr)
}

const secret = "Bearer 7c1d-secret"

// ask sends a request and returns the answer with its body.
func ask(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func request(t testing.TB, method, url string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

// The guest speaks what the host does, and the host gets the headers in place of those that the guest made up.
func TestRequestsInTLSGetHeaders(t *testing.T) {
	for _, c := range []struct {
		server bool // Speaks HTTP/2.
		guest  []string
		want   int
	}{
		{true, []string{"h2", "http/1.1"}, 2}, {false, []string{"h2", "http/1.1"}, 1}, {true, []string{"http/1.1"}, 1},
		{true, nil, 1},
	} {
		i := newIntercepting(t, 443)
		o := newOrigin(t, i.theirs, "a.example", c.server, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Alt-Svc", `h3=":443"`)
			w.Header().Set("X-Answer", "yes")
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
		})
		i.host("a.example", o.Listener.Addr().String())
		i.set("a.example", map[string]string{"Authorization": secret, "X-Added": "1"})
		client := i.client(c.guest...)
		if c.guest == nil {
			client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
		}
		for range 2 {
			req := request(t, "POST", "https://a.example/p%2Fq?x=y;z", strings.NewReader("body"),
				"Authorization", "guest's", "authorization", "another", "X-Mine", "kept", "X_Added", "mine", "x_added", "mine", "X_Mine", "too", "Connection", "Authorization", "Proxy-Authorization", "gone")
			if c.want == 2 {
				req.Header.Del("Connection") // HTTP/2 has none.
			}
			resp, body := ask(t, client, req)
			if body != "body" || resp.ProtoMajor != c.want || resp.Header.Get("X-Answer") != "yes" || resp.Header["Alt-Svc"] != nil {
				t.Errorf("%+v: %q, %s, %v", c, body, resp.Proto, resp.Header)
			}
			for _, r := range o.requests() {
				if len(r.Header["Authorization"]) != 1 || r.Header.Get("Authorization") != secret || r.Header.Get("X-Added") != "1" ||
					r.Header.Get("X-Mine") != "kept" || r.Header.Get("X_Mine") != "too" || r.Header.Get("X_Added") != "" || r.Host != "a.example" || r.RequestURI != "/p%2Fq?x=y;z" || r.ProtoMajor != c.want {
					t.Errorf("%+v: the host gets %s %s %s %v", c, r.Proto, r.Host, r.RequestURI, r.Header)
				}
			}
			if strings.Contains(fmt.Sprint(resp.Header, body), secret) {
				t.Error("the guest sees the value")
			}
		}
		i.wantDials("a.example:443") // Once for both requests.
		i.wantRefused()
	}
}

// A host whose certificate is wrong gets no request, and the guest reads why.
func TestAHostMustProveItsName(t *testing.T) {
	i := newIntercepting(t, 443)
	for name, o := range map[string]*origin{
		"another name":      newOrigin(t, i.theirs, "b.example", true, func(http.ResponseWriter, *http.Request) {}),
		"another authority": newOrigin(t, i.ours, "a.example", false, func(http.ResponseWriter, *http.Request) {}),
	} {
		i.host("a.example", o.Listener.Addr().String())
		i.set("a.example", map[string]string{"Authorization": secret})
		resp, body := ask(t, i.client("h2", "http/1.1"), request(t, "GET", "https://a.example/", nil))
		if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "a.example") || !strings.Contains(body, "x509") || strings.Contains(body, secret) {
			t.Errorf("%s: %s %q", name, resp.Status, body)
		}
		if len(o.requests()) > 0 {
			t.Errorf("%s: it gets a request", name)
		}
	}
	i.host("gone.example", "127.0.0.1:1")
	i.set("gone.example", map[string]string{"A": "b"})
	if resp, body := ask(t, i.client("http/1.1"), request(t, "GET", "https://gone.example/", nil)); resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "refused") {
		t.Errorf("no server: %s %q", resp.Status, body)
	}
}

func TestWhatWouldShowOrMoveHeadersIsRefused(t *testing.T) {
	i := newIntercepting(t, 443)
	o := newOrigin(t, i.theirs, "a.example", true, func(http.ResponseWriter, *http.Request) {})
	i.host("a.example", o.Listener.Addr().String())
	i.host("b.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	for _, protocol := range []string{"h2", "http/1.1"} {
		for _, c := range []struct {
			method, host string
			want         int
		}{
			{"TRACE", "a.example", http.StatusMethodNotAllowed}, {"GET", "b.example", http.StatusMisdirectedRequest},
			{"GET", "a.example:80", http.StatusMisdirectedRequest}, {"GET", "A.Example:443", http.StatusOK},
		} {
			req := request(t, c.method, "https://a.example/", nil)
			req.Host = c.host
			if resp, _ := ask(t, i.client(protocol), req); resp.StatusCode != c.want {
				t.Errorf("%s: %s for %s: %s", protocol, c.method, c.host, resp.Status)
			}
		}
	}
	if got := o.requests(); len(got) != 2 {
		t.Errorf("the host gets %d requests", len(got))
	}
}

// The rules in force count at each request of a connection, and one that may not go on ends.
func TestRulesChangeUnderAConnection(t *testing.T) {
	for _, protocol := range []string{"h2", "http/1.1"} {
		i := newIntercepting(t, 443)
		o := newOrigin(t, i.theirs, "a.example", true, func(http.ResponseWriter, *http.Request) {})
		i.host("a.example", o.Listener.Addr().String())
		i.set("a.example", map[string]string{"Authorization": "one"})
		client := i.client(protocol)
		for _, value := range []string{"one", "two", ""} {
			if i.set("a.example", map[string]string{"Authorization": value}); value == "" {
				i.set("a.example", nil)
			}
			i.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
			ask(t, client, request(t, "GET", "https://a.example/", nil))
			if got := o.requests(); len(got) != 1 || got[0].Header.Get("Authorization") != value {
				t.Errorf("%s: %q: %v", protocol, value, got)
			}
		}
		i.wantDials("a.example:443")
		i.forbid("a.example")
		i.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
		if resp, err := client.Do(request(t, "GET", "https://a.example/", nil)); err == nil {
			t.Errorf("%s: %s after it was forbidden", protocol, resp.Status)
		}
		if got := o.requests(); len(got) > 0 {
			t.Errorf("%s: the host gets %d requests", protocol, len(got))
		}
	}
}

// Streams, trailers and half-open requests pass as they come.
func TestStreamsInTLSAreNotHeldUp(t *testing.T) {
	i := newIntercepting(t, 443)
	o := newOrigin(t, i.theirs, "a.example", true, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "Grpc-Status")
		for in := bufio.NewScanner(r.Body); in.Scan(); {
			fmt.Fprintf(w, "got %s\n", in.Text())
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Late", r.Trailer.Get("Client"))
	})
	i.host("a.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	body, to := io.Pipe()
	req := request(t, "POST", "https://a.example/", body, "Te", "trailers")
	req.Trailer = http.Header{"Client": nil}
	type answer struct {
		resp *http.Response
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := i.client("h2").Do(req)
		answered <- answer{resp, err}
	}()
	fmt.Fprintln(to, "one")
	a := <-answered
	if a.err != nil {
		t.Fatal(a.err)
	}
	defer a.resp.Body.Close()
	in := bufio.NewReader(a.resp.Body)
	for _, line := range []string{"one", "two", "three"} {
		if line != "one" {
			fmt.Fprintln(to, line)
		}
		if got, err := in.ReadString('\n'); got != "got "+line+"\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	req.Trailer.Set("Client", "c")
	to.Close()
	if _, err := io.ReadAll(in); err != nil || a.resp.Trailer.Get("Grpc-Status") != "0" || a.resp.Trailer.Get("Late") != "c" {
		t.Errorf("%v, trailers %v", err, a.resp.Trailer)
	}
	if got := o.requests(); len(got) != 1 || got[0].Header.Get("Te") != "trailers" || got[0].Header.Get("Authorization") != secret {
		t.Errorf("%v", got)
	}
}

// An upgrade to WebSocket passes bytes both ways, also those that come early.
func TestWebSocketsInTLSGetHeaders(t *testing.T) {
	i := newIntercepting(t, 443)
	o := newOrigin(t, i.theirs, "a.example", true, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, "and "+line)
		rw.Flush()
	})
	i.host("a.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	c := tls.Client(i.guest(), &tls.Config{RootCAs: i.ours.pool, ServerName: "a.example"})
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	if got, err := io.ReadAll(in); string(got) != "hello and early\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := o.requests(); len(got) != 1 || got[0].Header.Get("Authorization") != secret {
		t.Errorf("%v", got)
	}
}

// All connections to a host end with those of guests, also in the middle of requests; and there are as many as may be.
func TestConnectionsInTLSAreBoundedAndEnd(t *testing.T) {
	i := newIntercepting(t, 443)
	entered, gone := make(chan bool, 9), make(chan bool, 9)
	o := newOrigin(t, i.theirs, "a.example", true, func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
		gone <- true
	})
	i.host("a.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	for _, protocol := range []string{"h2", "http/1.1"} {
		ctx, cancel := context.WithCancel(t.Context())
		client := i.client(protocol)
		done := make(chan bool)
		go func() {
			if _, err := client.Do(request(t, "GET", "https://a.example/", nil).WithContext(ctx)); err == nil {
				t.Error("an answer came")
			}
			close(done)
		}()
		<-entered
		i.gw.Forget(netip.MustParseAddr("127.0.0.1"))
		<-gone
		cancel()
		<-done
	}
	i.eventuallyNone()
	i.gw.mu.Lock()
	i.gw.secure = secureInAll - 1
	i.gw.mu.Unlock()
	defer func() {
		i.gw.mu.Lock()
		defer i.gw.mu.Unlock()
		i.gw.secure -= secureInAll - 1
	}()
	first := tls.Client(i.guest(), &tls.Config{RootCAs: i.ours.pool, ServerName: "a.example"})
	if err := first.Handshake(); err != nil {
		t.Fatal(err)
	}
	second := tls.Client(i.guest(), &tls.Config{RootCAs: i.ours.pool, ServerName: "a.example"})
	if err := second.Handshake(); err == nil {
		t.Error("there are more connections than may be")
	}
	first.Close()
	i.eventuallyNone()
}

// eventuallyNone waits until no connection of a guest is left.
func (w *world) eventuallyNone() {
	w.t.Helper()
	for deadline := time.Now().Add(bound); ; runtime.Gosched() {
		w.gw.mu.Lock()
		n := w.gw.total
		w.gw.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d connections are left", n)
		}
	}
}
