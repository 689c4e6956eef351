package gateway

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"
)

// A connection to the address that the guest has chosen gets no headers that a host is given while it is open.
func TestNewHeadersDoNotGoWhereTheGuestChose(t *testing.T) {
	i := newIntercepting(t, 80)
	answer := func(got *[]string) string {
		return newNamedHandler(t, func(w http.ResponseWriter, r *http.Request) {
			*got = append(*got, r.Host+" "+r.Header.Get("Authorization"))
			_, _ = io.WriteString(w, "ok")
		})
	}
	var atSite, named []string
	server := answer(&named)
	i.reach(site, answer(&atSite))
	i.host("a.example", server)
	i.host("b.example", server)
	i.set("a.example", map[string]string{"Authorization": secret})
	guest := i.guest()
	in := bufio.NewReader(guest)
	for n, host := range []string{"a.example", "b.example", "b.example", "b.example"} {
		switch n {
		case 2:
			i.set("b.example", map[string]string{"Authorization": secret})
		case 3:
			i.set("b.example", nil)
		}
		fmt.Fprintf(guest, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		wantAnswer(t, in, "ok")
	}
	if want := fmt.Sprint([]string{"b.example ", "b.example "}); fmt.Sprint(atSite) != want {
		t.Errorf("where the guest chose: %q", atSite)
	}
	if want := fmt.Sprint([]string{"a.example " + secret, "b.example " + secret}); fmt.Sprint(named) != want {
		t.Errorf("the hosts: %q", named)
	}
}

// A host that is allowed by its name does not keep a connection to an address that the guest has chosen.
func TestANameDoesNotKeepWhatTheGuestChose(t *testing.T) {
	i := newIntercepting(t, 80)
	entered := make(chan bool, 1)
	i.reach(site, newNamedHandler(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- true
		<-r.Context().Done()
	}))
	i.host("a.example", newNamedHandler(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	i.set("a.example", map[string]string{"Authorization": secret})
	i.host("b.example", i.servers["a.example"])
	guest := i.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	wantAnswer(t, bufio.NewReader(guest), "ok")
	fmt.Fprint(guest, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")
	<-entered
	i.gw.Recheck(netip.MustParseAddr("127.0.0.1")) // Nothing has changed.
	if n := len(i.gw.of(netip.MustParseAddr("127.0.0.1"))); n != 1 {
		t.Fatalf("%d connections", n)
	}
	i.mu.Lock()
	delete(i.reached, site)
	i.mu.Unlock()
	i.gw.Recheck(netip.MustParseAddr("127.0.0.1"))
	wantReset(t, guest)
}

// What a guest sends over HTTP/2 makes no lines in the log.
func TestWrongHTTP2IsNotReported(t *testing.T) {
	i := newIntercepting(t, 443)
	o := newOrigin(t, i.theirs, "a.example", true, func(http.ResponseWriter, *http.Request) {})
	i.host("a.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
		http.MethodGet, "http2: panic serving abcd",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x05\x04\x00\x00\x00\x00\x00wrong",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00",
	} {
		c := tls.Client(i.guest(), &tls.Config{RootCAs: i.ours.pool, ServerName: "a.example", NextProtos: []string{"h2"}})
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if text == http.MethodGet {
			_ = c.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	i.eventuallyNone()
	var got []string
	for _, line := range []string{"http: panic serving 192.0.2.1: x", "http2: panic serving 192.0.2.1: x", "http2: server: http: panic"} {
		_, _ = panics(func(err error) { got = append(got, err.Error()) }).Write([]byte(line + "\n"))
	}
	if len(got) != 2 {
		t.Errorf("reported: %q", got)
	}
}

// A guest with HTTP/1.0 gets one answer: it would take an interim one for that (RFC 9110, 15.2).
func TestNoInterimAnswersForHTTP10(t *testing.T) {
	w := newWorld(t, 80)
	w.host("a.example", newNamedHandler(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(rw, "ok")
	}))
	for version, want := range map[string]int{"1.0": http.StatusOK, "1.1": http.StatusEarlyHints} {
		guest := w.send("GET / HTTP/" + version + "\r\nHost: a.example\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(guest), nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("HTTP/%s: %v, %v", version, resp, err)
		}
	}
}
