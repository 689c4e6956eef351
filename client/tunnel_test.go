package client

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// echoTunnel answers a CONNECT as a server does, and what it gets after the end of it. A word comes with the
// answer, as of a program that speaks first.
func echoTunnel(w http.ResponseWriter, r *http.Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\nContent-Length: 3\r\n\r\nhello ")
	all, err := io.ReadAll(rw)
	if err == nil {
		_, _ = fmt.Fprintf(c, "%s %s", r.Host, all)
	}
}

// talk says something, ends its side, and returns the answer.
func talk(t *testing.T, c net.Conn) string {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "said"); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestDialPort(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("X-API-Key") != "e2b_key" || r.ProtoMajor != 1 {
			http.Error(w, "not the right request", http.StatusTeapot)
			return
		}
		echoTunnel(w, r)
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	encrypted := httptest.NewUnstartedServer(handler)
	encrypted.EnableHTTP2 = true
	encrypted.StartTLS()
	defer encrypted.Close()
	other := &http.Transport{TLSClientConfig: encrypted.Client().Transport.(*http.Transport).TLSClientConfig, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, encrypted.Listener.Addr().String())
		}}
	for name, api := range map[string]API{
		"plain":                  {URL: plain.URL + "/", Key: "e2b_key"},
		"TLS":                    {HTTP: encrypted.Client(), URL: encrypted.URL, Key: "e2b_key"},
		"a name not resolved":    {HTTP: &http.Client{Transport: other}, URL: "https://sandbox.example.com", Key: "e2b_key"},
		"a client of no options": {HTTP: &http.Client{}, URL: plain.URL, Key: "e2b_key"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := api.DialPort(t.Context(), "i1", 80)
			if err != nil {
				t.Fatal(err)
			}
			if got := talk(t, c); got != "hello i1:80 said" {
				t.Errorf("%q", got)
			}
		})
	}
	// The context of a dial that succeeded ends nothing.
	ctx, cancel := context.WithCancel(t.Context())
	c, err := API{URL: plain.URL, Key: "e2b_key"}.DialPort(ctx, "i1", 80)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, c); got != "hello i1:80 said" {
		t.Errorf("after its context: %q", got)
	}
}

// A proxy of the environment is asked for the server first.
func TestDialPortThroughAProxy(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(echoTunnel))
	defer srv.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-API-Key") != "" {
			t.Error("the proxy got the key")
		}
		if want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret")); r.Header.Get("Proxy-Authorization") != want {
			http.Error(w, "", http.StatusProxyAuthRequired)
			return
		}
		to, err := new(net.Dialer).DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, "", http.StatusBadGateway)
			return
		}
		defer to.Close()
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, c) }()
		_, _ = io.Copy(c, to)
	}))
	defer proxy.Close()
	through := func(address string) API {
		via, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		transport := srv.Client().Transport.(*http.Transport).Clone()
		transport.Proxy = http.ProxyURL(via)
		return API{HTTP: &http.Client{Transport: transport}, URL: srv.URL, Key: "e2b_key"}
	}
	address := proxy.Listener.Addr().String()
	c, err := through("http://me:secret@"+address).DialPort(t.Context(), "i1", 80)
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, c); got != "hello i1:80 said" {
		t.Errorf("%q", got)
	}
	for url, want := range map[string]string{"http://me:wrong@" + address: "407", "socks5://" + address: "only http and https"} {
		if _, err := through(url).DialPort(t.Context(), "i1", 80); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wrong@") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestDialPortFails(t *testing.T) {
	release := make(chan struct{})
	var open []net.Conn
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Host {
		case "i1:81":
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, `{"sandboxId":"i1","message":"The sandbox is running but port is not open","port":81,"code":502}`)
		case "i1:82":
			panic(http.ErrAbortHandler)
		default:
			<-release
		}
	}))
	defer srv.Close()
	defer close(release)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		open = append(open, c)
		return c, err
	}}
	api := API{HTTP: &http.Client{Transport: transport}, URL: srv.URL, Key: "e2b_key"}
	_, err := api.DialPort(t.Context(), "i1", 81)
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != 502 || refused.Message != "The sandbox is running but port is not open" || refused.RetryAfter != 2*time.Second {
		t.Errorf("closed port: %#v", err)
	}
	if _, err := api.DialPort(t.Context(), "i1", 82); err == nil || !strings.Contains(err.Error(), "CONNECT i1:82") {
		t.Errorf("broken off: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, err := api.DialPort(ctx, "i1", 83); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	if len(open) != 3 {
		t.Errorf("%d connections", len(open))
	}
	for _, c := range open {
		if err := c.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a failed dial left its connection: %v", err)
		}
	}
	srvTLS := httptest.NewTLSServer(nil)
	defer srvTLS.Close()
	var unknown *tls.CertificateVerificationError
	if _, err := (API{URL: srvTLS.URL}).DialPort(t.Context(), "i1", 80); !errors.As(err, &unknown) {
		t.Errorf("a certificate that is not trusted: %v", err)
	}
	if _, err := (API{URL: "http://bad url"}).DialPort(t.Context(), "i1", 80); err == nil {
		t.Error("a URL with a space")
	}
	type mine struct{ http.RoundTripper }
	if _, err := (API{HTTP: &http.Client{Transport: mine{}}, URL: srv.URL}).DialPort(t.Context(), "i1", 80); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Errorf("another transport: %v", err)
	}
}

// What was reset has no regular end, with TLS either.
func TestATunnelIsReset(t *testing.T) {
	ended := make(chan error)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		_, err = io.ReadAll(rw)
		ended <- err
	})
	plain, encrypted := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer encrypted.Close()
	for _, srv := range []*httptest.Server{plain, encrypted} {
		c, err := API{HTTP: srv.Client(), URL: srv.URL}.DialPort(t.Context(), "i1", 80)
		if err != nil {
			t.Fatal(err)
		}
		c.(interface{ Reset() }).Reset()
		c.Close()
		if err := <-ended; err == nil {
			t.Errorf("%s: a regular end", srv.URL)
		}
	}
}
