package gateway

import (
	"bufio"
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
