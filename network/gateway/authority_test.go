package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// authority signs certificates of hosts.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	der, key := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true}, nil)
	a.key = key
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// sign signs with an authority; nil is the new key.
func sign(t testing.TB, c *x509.Certificate, by *authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// certify implements Config.Certify.
func (a *authority) certify(host string) (*tls.Certificate, error) {
	der, key := sign(a.t, &x509.Certificate{DNSNames: []string{host}}, a)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// intercepting is a world whose gateway sets headers; guests trust ours, and the gateway trusts theirs.
type intercepting struct {
	*world
	ours, theirs *authority
}

func newIntercepting(t testing.TB, port uint16) *intercepting {
	t.Helper()
	i := &intercepting{ours: newAuthority(t), theirs: newAuthority(t)}
	i.world = &world{
		t: t, port: port, allowed: map[string]bool{}, reached: map[netip.Addr]bool{}, headers: map[string]map[string]string{},
		servers: map[string]string{}, sites: map[netip.Addr]string{},
	}
	ln := listen(t)
	i.addr = ln.Addr().String()
	c := i.config(ln)
	c.Certify, c.Roots = i.ours.certify, i.theirs.pool
	i.gw = Serve(c)
	t.Cleanup(func() {
		i.gw.Close()
		if len(i.gw.shares) != 0 || i.gw.total != 0 || i.gw.secure != 0 {
			t.Errorf("%d connections of %d guests are counted at the end, %d of them with TLS", i.gw.total, len(i.gw.shares), i.gw.secure)
		}
		for _, err := range i.errs {
			t.Errorf("reported: %v", err)
		}
	})
	return i
}

// set gives a host headers.
func (w *world) set(host string, headers map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.headers[host] = headers
}

// reach allows an address, whatever the host is, at which there is a server.
func (w *world) reach(a netip.Addr, server string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reached[a], w.sites[a] = true, server
}

// client asks over TLS through the gateway; every connection is one of a guest.
func (i *intercepting) client(protocols ...string) *http.Client {
	i.t.Helper()
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: i.ours.pool, NextProtos: protocols},
		ForceAttemptHTTP2: true, DialContext: i.dialContext,
	}
	if len(protocols) == 1 && protocols[0] == "http/1.1" {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(true)
	}
	i.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: bound}
}

// origin is a server of a host that keeps what it gets.
type origin struct {
	*httptest.Server
	keep bool // What it gets.
	mu   sync.Mutex
	got  []*http.Request
}

// newOrigin starts a server for a host, with HTTP/2 if both is true. Its certificate is of the authority.
func newOrigin(t testing.TB, by *authority, host string, both bool, handle http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{keep: true}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.keep {
			o.mu.Lock()
			o.got = append(o.got, r)
			o.mu.Unlock()
		}
		handle(w, r)
	}))
	leaf, err := by.certify(host)
	if err != nil {
		t.Fatal(err)
	}
	o.EnableHTTP2 = both
	o.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf}}
	o.Config.ErrorLog = noLog // A handshake that fails is what some tests want.
	o.StartTLS()
	t.Cleanup(func() { o.CloseClientConnections(); o.Close() })
	return o
}

// requests are those since the last call.
func (o *origin) requests() []*http.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.got
	o.got = nil
	return out
}
