package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/node/statedir"
)

// serve runs a daemon until stop is called, which waits for its end.
func serve(t *testing.T, cfg Config) (url string, l layout.Layout, stop func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	l = dirs(t)
	run, err := os.MkdirTemp("", "daemon") // The test's own directory is too long a name for sockets.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	l.RunDir = run
	ctx, cancel := context.WithCancel(t.Context())
	ready, served := make(chan string, 1), make(chan error, 1)
	cfg.Node = node.Config{Dirs: l, NoUplink: true, NetworkSlots: -1, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	cfg.Listen, cfg.Version = "127.0.0.1:0", "test"
	cfg.Ending = func(error) node.Ending { return node.EndAll }
	cfg.Ready = func(url string) { ready <- url }
	go func() { served <- Serve(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case url = <-ready:
	case err := <-served:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("it is not ready after a minute")
	}
	return url, l, stop
}

// A program can serve a node with a few lines: the address and the key that Serve
// leaves in the state directory are enough for a client.
func TestServeAnswersAClientUntilItsContextEnds(t *testing.T) {
	url, l, stop := serve(t, Config{})
	if got := statedir.ReadEndpoint(l); got.URL != url || got.Domain != "" {
		t.Errorf("the endpoint is %+v, want %q", got, url)
	}
	list, err := client.API{URL: url, Key: keys.ReadDefault(l)}.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	stop()
	if resp, err := http.Get(url + "/health"); err == nil {
		resp.Body.Close()
		t.Error("it answers after it has ended")
	}
}

// With certificates the domain is enough for a client that trusts the authority, as an
// SDK with E2B_DOMAIN. The names need not resolve here: the client dials the address.
func TestServeTLSByName(t *testing.T) {
	url, l, stop := serve(t, Config{TLS: TLS{Local: true}})
	e := statedir.ReadEndpoint(l)
	if url != "https://api."+DefaultDomain || e.URL != url || e.Domain != DefaultDomain {
		t.Fatalf("%s, %+v", url, e)
	}
	roots := x509.NewCertPool()
	for _, file := range []string{e.Root, e.Bundle} {
		if pem, err := os.ReadFile(file); err != nil || !roots.AppendCertsFromPEM(pem) {
			t.Fatalf("%s: %v", file, err)
		}
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, e.Address)
		}}
	api := client.API{URL: url, Key: keys.ReadDefault(l), HTTP: &http.Client{Transport: transport}}
	if list, err := api.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	resp, err := api.HTTP.Get("https://49983-none." + DefaultDomain + "/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway || resp.ProtoMajor != 2 {
		t.Errorf("a sandbox that is not there: %s %s", resp.Proto, resp.Status)
	}
	transport.CloseIdleConnections()
	stop()
}
