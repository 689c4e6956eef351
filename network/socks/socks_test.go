package socks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/network/socks/sockstest"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// echo is a server that repeats all that it reads, when that has ended.
func echo(t *testing.T) string {
	ln := listen(t)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				_, _ = c.Write(all)
			}()
		}
	}()
	return ln.Addr().String()
}

// authority is a certificate for example.com and 127.0.0.1, and what it is checked by.
func authority(t *testing.T) (tls.Certificate, string) {
	srv := httptest.NewTLSServer(nil)
	t.Cleanup(srv.Close)
	return srv.TLS.Certificates[0], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}

func TestThrough(t *testing.T) {
	certificate, authorities := authority(t)
	server := echo(t)
	for name, c := range map[string]struct {
		proxy          Proxy
		user, password string // That the server wants.
		encrypted      bool
		target, fails  string
	}{
		"a name is not resolved":        {proxy: Proxy{}, target: "a.example:443"},
		"an address":                    {proxy: Proxy{}, target: "192.0.2.1:22"},
		"a password":                    {proxy: Proxy{Username: "u", Password: "p"}, user: "u", password: "p", target: "a.example:443"},
		"a user without a password":     {proxy: Proxy{Username: "u"}, user: "u", target: "a.example:443"},
		"a password that is not wanted": {proxy: Proxy{Username: "u", Password: "p"}, target: "a.example:443"},
		"a wrong password":              {proxy: Proxy{Username: "u", Password: "secret"}, user: "u", password: "p", fails: "authentication failed"},
		"no password":                   {proxy: Proxy{}, user: "u", password: "p", fails: "no acceptable authentication"},
		"TLS":                           {proxy: Proxy{TLS: true, Authorities: authorities}, encrypted: true, target: "a.example:443"},
		"TLS and another name":          {proxy: Proxy{TLS: true, Authorities: authorities, ServerName: "example.com"}, encrypted: true, target: "a.example:443"},
		"TLS and a wrong name":          {proxy: Proxy{TLS: true, Authorities: authorities, ServerName: "example.org"}, encrypted: true, fails: "not example.org"},
		"TLS and other authorities":     {proxy: Proxy{TLS: true}, encrypted: true, fails: "unknown authority"},
		"TLS and no authorities":        {proxy: Proxy{TLS: true, Authorities: "none"}, encrypted: true, fails: "no authority"},
		"TLS where there is none":       {proxy: Proxy{TLS: true, Authorities: authorities}, fails: "EOF"},
		"the target is not there":       {proxy: Proxy{}, target: "gone.example:443", fails: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			ln := listen(t)
			addr := ln.Addr().String()
			if c.encrypted {
				ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{certificate}})
			}
			p := sockstest.Serve(t, ln, c.user, c.password, func(ctx context.Context, target string) (net.Conn, error) {
				if strings.HasPrefix(target, "gone") {
					return nil, errors.New("connection refused")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", server)
			})
			raw, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c.proxy.Host, c.proxy.Port = "127.0.0.1", 1080
			target := c.target
			if target == "" {
				target = "a.example:443"
			}
			conn, err := c.proxy.Through(ctx, raw, x509.NewCertPool(), target)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v, want %q", err, c.fails)
				}
				if _, err := raw.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the connection to the proxy is open: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if !c.encrypted { // Of TLS the library's proxy does not pass on that one direction has ended.
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
					t.Errorf("%q, %v", got, err)
				}
			}
			if got := p.Targets(); !slices.Equal(got, []string{c.target}) {
				t.Errorf("it was asked for %q", got)
			}
		})
	}
}

// A dial through a proxy that says nothing, or nonsense, ends by its deadline.
func TestAProxyThatIsNone(t *testing.T) {
	for name, says := range map[string]string{
		"nothing": "", "another protocol": "HTTP/1.1 400 Bad Request\r\n\r\n", "half an answer": "\x05", "a type of address that does not exist": "\x05\x00\x05\x00\x00\x09",
		"a method that was not offered": "\x05\x01\x05\x00\x00\x01",
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				_, _ = far.Write([]byte(says))
			}()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			begin := time.Now()
			if _, err := (Proxy{Host: "proxy"}).Through(ctx, near, nil, "a.example:1"); err == nil {
				t.Errorf("%s: connected", name)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
			_ = far.Close()
		})
	}
}

func TestAddr(t *testing.T) {
	if a, ok := (Proxy{Host: "203.0.113.1"}).Addr(); !ok || a.String() != "203.0.113.1" {
		t.Errorf("%v, %v", a, ok)
	}
	if _, ok := (Proxy{Host: "proxy.example"}).Addr(); ok {
		t.Error("a name is an address")
	}
}
