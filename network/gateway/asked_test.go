package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// The policy is asked for each request in TLS, also before Recheck has come.
func TestEachRequestInTLSAsksThePolicy(t *testing.T) {
	for _, protocol := range []string{"h2", "http/1.1"} {
		i := newIntercepting(t, 443)
		o := newOrigin(t, i.theirs, "a.example", true, func(http.ResponseWriter, *http.Request) {})
		i.host("a.example", o.Listener.Addr().String())
		i.set("a.example", map[string]string{"Authorization": secret})
		client := i.client(protocol)
		ask(t, client, request(t, "POST", "https://a.example/", http.NoBody))
		i.forbid("a.example")
		if resp, err := client.Do(request(t, "POST", "https://a.example/", http.NoBody)); err == nil {
			t.Errorf("%s: %s", protocol, resp.Status)
		}
		if n := len(o.requests()); n != 1 {
			t.Errorf("%s: the host gets %d requests", protocol, n)
		}
	}
}

// Nothing is added to requests in TLS, and no upgrade passes whose requests would not be seen.
func TestRequestsInTLSKeepTheirMeaning(t *testing.T) {
	i := newIntercepting(t, 443)
	o := newOrigin(t, i.theirs, "a.example", true, func(http.ResponseWriter, *http.Request) {})
	i.host("a.example", o.Listener.Addr().String())
	i.set("a.example", map[string]string{"Authorization": secret})
	c := tls.Client(i.guest(), &tls.Config{RootCAs: i.ours.pool, ServerName: "a.example"})
	fmt.Fprint(c, "GET / HTTP/1.0\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if got := o.requests(); len(got) != 1 || len(got[0].Header) != 1 || got[0].Header.Get("Authorization") != secret {
		t.Errorf("%v", got)
	}
}

// A host that is forbidden while it is dialed gets nothing.
func TestThePolicyIsAskedAfterADial(t *testing.T) {
	w := newWorld(t, 80)
	server := newNamed(t, "a")
	w.host("a.example", server.addr)
	w.dialing = func(context.Context) { w.forbid("a.example") }
	wantReset(t, w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
	server.want(t)
}
