package egress

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestProxies(t *testing.T) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	long := strings.Repeat("x", MaxProxyUser)
	for name, c := range map[string]struct {
		proxy sandbox.Proxy
		want  Proxy
	}{
		"a name":                    {sandbox.Proxy{Address: "Proxy.Example.:1080"}, Proxy{Host: "proxy.example", Port: 1080}},
		"an address":                {sandbox.Proxy{Address: "203.0.113.1:65535"}, Proxy{Host: "203.0.113.1", Port: 65535}},
		"one written as IPv6":       {sandbox.Proxy{Address: "[::ffff:203.0.113.1]:1"}, Proxy{Host: "203.0.113.1", Port: 1}},
		"a user":                    {sandbox.Proxy{Address: "a:1", Username: "u"}, Proxy{Host: "a", Port: 1, Username: "u"}},
		"the longest":               {sandbox.Proxy{Address: "a:1", Username: long, Password: long}, Proxy{Host: "a", Port: 1, Username: long, Password: long}},
		"TLS":                       {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{}}, Proxy{Host: "a", Port: 1, TLS: true}},
		"TLS and a name":            {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{ServerName: "B.Example"}}, Proxy{Host: "a", Port: 1, TLS: true, ServerName: "b.example"}},
		"TLS and an address":        {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{ServerName: "203.0.113.1"}}, Proxy{Host: "a", Port: 1, TLS: true, ServerName: "203.0.113.1"}},
		"TLS and two authorities":   {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: authority + "\n" + authority}}, Proxy{Host: "a", Port: 1, TLS: true, Authorities: strings.TrimSpace(authority + "\n" + authority)}},
		"TLS and blank authorities": {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: " \n"}}, Proxy{Host: "a", Port: 1, TLS: true}},
	} {
		p, err := Compile(nil, sandbox.Egress{Proxy: &c.proxy})
		if err != nil || p.Proxy != c.want || !p.All || p.Equal(Everything) || !p.Equal(p) {
			t.Errorf("%s: %+v, %v, want %+v", name, p.Proxy, err, c.want)
		}
	}
	// It permits nothing, and limits nothing.
	p, err := Compile(nil, sandbox.Egress{Deny: []string{"0.0.0.0/0"}, Proxy: &sandbox.Proxy{Address: "a:1"}})
	if err != nil || !p.None() {
		t.Errorf("%v, %v", p, err)
	}
	p, err = Compile(nil, sandbox.Egress{Deny: []string{"0.0.0.0/0"}, Allow: []string{"a.example"}, Proxy: &sandbox.Proxy{Address: "a:1"}})
	if err != nil || p.All || fmt.Sprint(p.Names) != "[a.example]" || p.Proxy.Host != "a" {
		t.Errorf("%v, %v", p, err)
	}
}

func TestBadProxies(t *testing.T) {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	long := strings.Repeat("x", MaxProxyUser+1)
	for name, c := range map[string]struct {
		proxy sandbox.Proxy
		want  string
	}{
		"nothing":                    {sandbox.Proxy{}, "HOST:PORT"},
		"no port":                    {sandbox.Proxy{Address: "a.example"}, "HOST:PORT"},
		"no host":                    {sandbox.Proxy{Address: ":1080"}, "not an address or a host name"},
		"port 0":                     {sandbox.Proxy{Address: "a:0"}, "not a port"},
		"a port too large":           {sandbox.Proxy{Address: "a:65536"}, "not a port"},
		"a signed port":              {sandbox.Proxy{Address: "a:+80"}, "not a port"},
		"a named port":               {sandbox.Proxy{Address: "a:socks"}, "not a port"},
		"a URL":                      {sandbox.Proxy{Address: "socks5://a:1080"}, "not an address or a host name"},
		"a URL with a user":          {sandbox.Proxy{Address: "socks5://u:" + secret + "@a:1080"}, "with a scheme or a user"},
		"a password's port":          {sandbox.Proxy{Address: "u:" + secret + "@a"}, "with a scheme or a user"},
		"half a bracket":             {sandbox.Proxy{Address: "[a:1"}, "not an address or a host name"},
		"a wildcard":                 {sandbox.Proxy{Address: "*.a.example:1"}, "not an address or a host name"},
		"every host":                 {sandbox.Proxy{Address: "*:1"}, "not an address or a host name"},
		"IPv6":                       {sandbox.Proxy{Address: "[2001:db8::1]:1"}, "IPv6"},
		"a number":                   {sandbox.Proxy{Address: "1.2.3:1"}, "not an address or a host name"},
		"a line":                     {sandbox.Proxy{Address: "a\nb:1"}, "not an address or a host name"},
		"a long host":                {sandbox.Proxy{Address: strings.Repeat("a.", 10000) + ":1"}, "not an address or a host name"},
		"a long user":                {sandbox.Proxy{Address: "a:1", Username: long, Password: secret}, "255 bytes"},
		"a long password":            {sandbox.Proxy{Address: "a:1", Username: "u", Password: secret + long}, "255 bytes"},
		"only a password":            {sandbox.Proxy{Address: "a:1", Password: secret}, "user name"},
		"a wildcard of TLS":          {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{ServerName: "*.a"}}, "name of a server"},
		"a port of TLS":              {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{ServerName: "a:1"}}, "name of a server"},
		"no certificates":            {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: "pem"}}, "PEM"},
		"a key":                      {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}}, "PEM"},
		"no certificate":             {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}, "cannot be read"},
		"a certificate with headers": {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: "-----BEGIN CERTIFICATE-----\nA: b\n\n" + strings.SplitN(authority, "\n", 2)[1]}}, "PEM"},
		"many authorities":           {sandbox.Proxy{Address: "a:1", TLS: &sandbox.ProxyTLS{CACert: strings.Repeat("x", MaxProxyAuthorities+1)}}, "8193 bytes"},
	} {
		p, err := Compile(nil, sandbox.Egress{Proxy: &c.proxy})
		if !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(fmt.Sprint(err), c.want) || !p.None() {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		if strings.Contains(fmt.Sprint(err), secret) || len(fmt.Sprint(err)) > 300 {
			t.Errorf("%s: the error is of %d bytes, or has the password", name, len(fmt.Sprint(err)))
		}
	}
}
