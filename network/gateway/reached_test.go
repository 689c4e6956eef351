package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"
)

// What a guest reaches by its address goes there, and only a host with headers is connected to by its name.
func TestWhatIsReachedAnywayOnlyGetsHeaders(t *testing.T) {
	for _, port := range []uint16{443, 80} {
		i := newIntercepting(t, port)
		named := newOrigin(t, i.theirs, "a.example", true, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "named") })
		atSite := newOrigin(t, i.ours, "a.example", true, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "site") })
		i.mu.Lock()
		i.servers["a.example"] = named.Listener.Addr().String()
		i.reached[netip.MustParseAddr("127.0.0.1")] = true // Where it leads to.
		i.mu.Unlock()
		i.reach(site, atSite.Listener.Addr().String())
		url := fmt.Sprintf("https://a.example:%d/", port)
		if _, body := ask(t, i.client("h2"), request(t, "GET", url, nil)); body != "site" {
			t.Errorf("without headers: %q", body)
		}
		i.set("a.example", map[string]string{"Authorization": secret})
		if _, body := ask(t, i.client("h2"), request(t, "GET", url, nil)); body != "named" {
			t.Errorf("with headers: %q", body)
		}
		i.wantDials(fmt.Sprintf("%v:%d", site, port), fmt.Sprintf("a.example:%d", port))
		if got := named.requests(); len(got) != 1 || got[0].Header.Get("Authorization") != secret {
			t.Errorf("%v", got)
		}
		if got := atSite.requests(); len(got) != 1 || got[0].Header.Get("Authorization") != "" {
			t.Errorf("%v", got)
		}
		// Neither the host nor the address.
		i.mu.Lock()
		delete(i.reached, site)
		i.mu.Unlock()
		if _, err := i.client("h2").Do(request(t, "GET", url, nil)); !isAlert(errors.Unwrap(err), accessDenied) {
			t.Errorf("refused: %v", err)
		}
		i.wantRefused("a.example")
		i.wantDials()
	}
}

// A connection to an address may speak anything: it is passed on as it came.
func TestWhatIsReachedAnywayMaySpeakAnything(t *testing.T) {
	i := newIntercepting(t, 80)
	server := newRawServer(t)
	i.reach(site, server.addr)
	i.set("a.example", map[string]string{"Authorization": secret})
	for _, text := range []string{
		"\x00\x01binary", "SSH-2.0-x\r\n", "EHLO a.example\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"GET /\r\n", "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01x",
		string(helloFor(t, tlsFor("b.example"))),
	} {
		guest := i.send(text)
		far := server.accept()
		wantRead(t, far, text)
		_, _ = io.WriteString(far, "answer")
		wantRead(t, guest, "answer")
		_ = guest.CloseWrite()
		wantEnd(t, far)
		_ = far.Close()
		wantEnd(t, guest)
	}
	i.wantRefused()
}

func TestRequestsWithoutTLSGetHeaders(t *testing.T) {
	for _, reached := range []bool{false, true} {
		i := newIntercepting(t, 80)
		var got []string
		srv := newNamedHandler(t, func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.Host+" "+r.Header.Get("Authorization"))
			_, _ = io.WriteString(w, "ok")
		})
		i.host("a.example", srv)
		i.host("b.example", srv)
		i.set("a.example", map[string]string{"Authorization": secret})
		if reached {
			i.reach(site, srv)
		}
		guest := i.guest()
		in := bufio.NewReader(guest)
		for _, host := range []string{"a.example", "b.example", "a.example"} {
			fmt.Fprintf(guest, "GET / HTTP/1.1\r\nHost: %s\r\nAuthorization: guest's\r\n\r\n", host)
			wantAnswer(t, in, "ok")
		}
		if want := fmt.Sprint([]string{"a.example " + secret, "b.example guest's", "a.example " + secret}); fmt.Sprint(got) != want {
			t.Errorf("reached %v: %q", reached, got)
		}
		fmt.Fprint(guest, "TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n")
		if rest := wantReset(t, guest); rest != "" || len(got) != 3 {
			t.Errorf("TRACE is answered with %q", rest)
		}
	}
}
