package gateway

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// BenchmarkRequests compares one request after the other of a guest: directly to the host, joined by the gateway, and with
// a header that the gateway sets in TLS; of a few bytes, and of 16 MiB. "connect" has a new connection for each.
func BenchmarkRequests(b *testing.B) {
	for _, way := range []string{"direct", "joined", "headers"} {
		for _, what := range []string{"request", "16MiB", "connect"} {
			for _, protocol := range []string{"http/1.1", "h2"} {
				b.Run(strings.Join([]string{way, what, protocol}, "/"), func(b *testing.B) { benchmarkRequests(b, way, what, protocol) })
			}
		}
	}
}

const large = 16 << 20

func benchmarkRequests(b *testing.B, way, what, protocol string) {
	i := newIntercepting(b, 443)
	body := strings.Repeat("x", large)
	o := newOrigin(b, i.theirs, "a.example", protocol == "h2", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/16MiB" {
			_, _ = io.WriteString(w, body)
		}
	})
	o.keep = false
	i.host("a.example", o.Listener.Addr().String())
	roots := i.theirs.pool
	switch way {
	case "direct":
		i.addr = o.Listener.Addr().String()
	case "joined":
		i.reach(netip.MustParseAddr("203.0.113.9"), o.Listener.Addr().String())
	case "headers":
		roots = i.ours.pool
		i.set("a.example", map[string]string{"Authorization": secret})
	}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{protocol}}, ForceAttemptHTTP2: protocol == "h2",
		DialContext: i.dialContext, DisableKeepAlives: what == "connect",
	}
	defer tr.CloseIdleConnections()
	if what == "16MiB" {
		b.SetBytes(large)
	}
	for b.Loop() {
		resp, err := tr.RoundTrip(request(b, "GET", "https://a.example/"+what, nil))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
	i.mu.Lock()
	i.dials = nil
	i.mu.Unlock()
}
