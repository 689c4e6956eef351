package e2b

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// As an SDK with E2B_DOMAIN does it: the API and the sandboxes by host name, on
// one port, over TLS and HTTP/2.
func TestTLS(t *testing.T) {
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	roots := ca.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs

	var keys MemoryKeys
	_, key, _ := keys.Create(t.Context(), "")
	rt := &fakeruntime.Runtime{}
	sb, err := rt.Create(t.Context(), sandbox.CreateRequest{Template: "base", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	rt.Listen(sb.ID, envd.Port, agentHandler(sb.ID))
	rt.Listen(sb.ID, 8000, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen-Proto", r.Header.Get("X-Forwarded-Proto"))
	}))
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: ca.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- NewServer(Config{Domain: "sb.test"}, rt, &keys).ServeTLS(ctx, tcp, config) }()

	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "example.com"},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", tcp.Addr().String())
		},
	}
	for url, want := range map[string]int{
		"https://api.sb.test/sandboxes/" + sb.ID:        200,
		"https://49983-" + sb.ID + ".sb.test/health":    204,
		"https://8000-" + sb.ID + ".sb.test/":           200,
		"https://49983-unknown.sb.test/health":          502,
		"https://49983-" + sb.ID + ".other.test/health": 200, // The API's own.
	} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		req.Header.Set("X-API-Key", key)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if seen := resp.Header.Get("Seen-Proto"); strings.Contains(url, "//8000-") && seen != "https" {
			t.Errorf("%s: the service in the sandbox sees the scheme %q", url, seen)
		}
		if resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %s, want %d over HTTP/2", url, resp.Proto, resp.Status, want)
		}
	}
	tr.CloseIdleConnections()
	_ = rt.Kill(context.Background(), sb.ID)
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
