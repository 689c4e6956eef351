package e2b

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/sandbox"
)

// With E2B_DOMAIN: the API by its host name, over TLS and HTTP/2, and links lead there too.
func TestFilesAreUploadedOverTLS(t *testing.T) {
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var keys MemoryKeys
	_, key, _ := keys.Create(t.Context(), "")
	rt := &fakeruntime.Runtime{}
	b, err := rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	server := NewServer(Config{Domain: "sb.test:8443"}, rt, &keys)
	go func() {
		served <- server.ServeTLS(ctx, tcp, &tls.Config{Certificates: ca.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}})
	}()
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: ca.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", tcp.Addr().String())
		},
	}
	do := func(ctx context.Context, method, url string, body io.Reader, key string) (int, []byte, error) {
		req, _ := http.NewRequestWithContext(ctx, method, url, body)
		req.Header.Set("X-API-Key", key)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Errorf("%s", resp.Proto)
		}
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, text, err
	}
	code, text, err := do(t.Context(), "GET", "https://api.sb.test:8443/templates/app/files/"+filesHash, nil, key)
	var link struct{ URL string }
	if jsonErr := json.Unmarshal(text, &link); err != nil || jsonErr != nil || code != http.StatusCreated || !strings.HasPrefix(link.URL, "https://api.sb.test:8443/templates/app/files/") {
		t.Fatalf("%d %s: %v", code, text, err)
	}
	// One that the client gives up in the middle.
	giveUp, stop := context.WithCancel(t.Context())
	part, more := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, _, err := do(giveUp, "PUT", link.URL, part, "")
		ended <- err
	}()
	if _, err := more.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil { // The runtime reads it.
		t.Error(err)
	}
	if rt.Receiving() != 1 {
		t.Errorf("%d archives are being read", rt.Receiving())
	}
	stop()
	if err := <-ended; err == nil {
		t.Error("an upload that was given up has succeeded")
	}
	archive := bytes.Repeat([]byte("archive."), 1<<18)
	if code, text, err := do(t.Context(), "PUT", link.URL, bytes.NewReader(archive), ""); err != nil || code != http.StatusNoContent {
		t.Errorf("%d %s: %v", code, text, err)
	}
	tr.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := rt.Files()[b.TemplateID+"/"+filesHash]; got != digest(archive) || len(rt.Files()) != 1 || rt.Receiving() != 0 || server.control.Uploads.Budget.Used() != 0 {
		t.Errorf("%v, %d are being read, %d are counted", rt.Files(), rt.Receiving(), server.control.Uploads.Budget.Used())
	}
}
