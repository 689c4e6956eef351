package gateway

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// secure is a server of TLS whose certificate is for example.com, and what its clients trust.
func secure(t *testing.T, config *tls.Config) (addr string, client *tls.Config) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "secure "+r.TLS.ServerName)
	}))
	srv.TLS = config
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv.Listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// get asks over TLS and returns the answer's body.
func get(c net.Conn, config *tls.Config) (string, error) {
	s := tls.Client(c, config)
	if _, err := io.WriteString(s, "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(s)
	_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	return body, err
}

func TestTLSIsPassedOnByName(t *testing.T) {
	for _, port := range []uint16{443, 80} {
		w := newWorld(t, port)
		addr, client := secure(t, nil)
		w.host("example.com", addr)
		if got, err := get(w.guest(), client); got != "secure example.com" || err != nil {
			t.Fatalf("the allowed host: %q, %v", got, err)
		}
		upper := client.Clone()
		upper.ServerName = "EXAMPLE.com"
		if got, err := get(w.guest(), upper); got != "secure EXAMPLE.com" || err != nil {
			t.Errorf("in upper case: %q, %v", got, err)
		}
		w.wantDials(fmt.Sprintf("example.com:%d", port), fmt.Sprintf("example.com:%d", port))
		w.wantRefused()
		// Certificate and address of the host make no difference to a name that is not allowed.
		w.mu.Lock()
		w.servers["other.example.com"] = addr
		w.mu.Unlock()
		other := client.Clone()
		other.ServerName = "other.Example.com"
		if _, err := get(w.guest(), other); !isAlert(err, accessDenied) {
			t.Errorf("a host that is not allowed: %v", err)
		}
		w.wantDials()
		w.wantRefused("other.example.com")
	}
}

func isAlert(err error, alert byte) bool {
	var e *net.OpError
	return errors.As(err, &e) && e.Op == "remote error" && errors.Is(e.Err, tls.AlertError(alert)) ||
		errors.As(err, &e) && e.Op == "remote error" && e.Err.Error() == tls.AlertError(alert).Error()
}

// helloFor is the ClientHello that crypto/tls sends.
func helloFor(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() { _ = tls.Client(near, config).Handshake() }()
	var hello []byte
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(far, head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(far, body); err != nil {
			t.Fatal(err)
		}
		hello = append(append(hello, head...), body...)
		if int(hello[6])<<16|int(hello[7])<<8|int(hello[8]) <= len(hello)-9-5*(len(hello)/(16<<10)) {
			return hello
		}
	}
}

// The guest gets an alert and then a reset, whatever it sends.
func TestTLSWithoutAnAllowedNameIsRefused(t *testing.T) {
	w := newWorld(t, 443)
	server := newRawServer(t)
	w.host("aaaa.b.cccc", server.addr)
	good := helloFor(t, tlsFor("aaaa.b.cccc"))
	named := func(name string) []byte { return bytes.Replace(good, []byte("aaaa.b.cccc"), []byte(name), 1) }
	for name, c := range map[string]struct {
		hello   []byte
		alert   byte
		refused string
	}{
		"no name":          {helloFor(t, &tls.Config{InsecureSkipVerify: true}), unrecognizedName, ""},
		"an address":       {named("192.0.2.111"), unrecognizedName, ""},
		"half an address":  {named("x.192.0.2.1"), unrecognizedName, ""},
		"not allowed":      {named("aaaa.b.cccd"), accessDenied, "aaaa.b.cccd"},
		"below an allowed": {named("b.cccc.aaaa"), accessDenied, "b.cccc.aaaa"},
		"a NUL":            {named("aaaa.b.ccc\x00"), unrecognizedName, ""},
		"a last dot":       {named("aaaa.b.ccc."), unrecognizedName, ""},
		"an empty label":   {named("aaaa..b.ccc"), unrecognizedName, ""},
		"a wildcard":       {named("*.aa.b.cccc"), unrecognizedName, ""},
		"garbage":          {append([]byte{handshake, 3, 1, 0, 40}, bytes.Repeat([]byte("x"), 40)...), unrecognizedName, ""},
		"too long":         {append([]byte{handshake, 3, 1, 0, 4, 1, 1, 0, 1}, good...), unrecognizedName, ""},
		"a ServerHello":    {append([]byte{handshake, 3, 1, 0, 4, 2, 0, 0, 0}, good...), unrecognizedName, ""},
		"a data record":    {append([]byte{handshake, 3, 1, 0, 1, 1, 23, 3, 1, 0, 1, 1}, good...), unrecognizedName, ""},
	} {
		got := wantReset(t, w.send(string(c.hello)))
		if want := string([]byte{0x15, 3, 1, 0, 2, 2, c.alert}); got != want {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
		w.wantDials()
		w.wantRefused(c.refused)
	}
	guest := w.send(string(good))
	wantRead(t, server.accept(), string(good))
	guest.Close()
	w.wantRefused()
}

// echConfig is a key of a server for encrypted_client_hello, and the list of configurations with it that clients get.
func echConfig(t *testing.T, public string) (tls.EncryptedClientHelloKey, []byte) {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	b = append(b, 7, 0, 0x20, 0, 32) // The id, the KEM, and the length of the key.
	b = append(b, key.PublicKey().Bytes()...)
	b = append(b, 0, 4, 0, 1, 0, 1, 32, byte(len(public))) // HKDF-SHA256 and AES-128-GCM, lengths of names.
	b = append(b, public...)
	b = append(b, 0, 0)
	config := append([]byte{0xfe, 0x0d, 0, byte(len(b))}, b...)
	return tls.EncryptedClientHelloKey{Config: config, PrivateKey: key.Bytes()}, append([]byte{0, byte(len(config))}, config...)
}

func TestAnEncryptedServerNameIsRefused(t *testing.T) {
	key, list := echConfig(t, "public.example")
	w := newWorld(t, 443)
	addr, client := secure(t, &tls.Config{EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{key}, MinVersion: tls.VersionTLS13})
	w.host("public.example", addr)
	w.host("example.com", addr)
	hidden := client.Clone()
	hidden.EncryptedClientHelloConfigList = list
	direct, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if got, err := get(direct, hidden); got != "secure example.com" || err != nil {
		t.Fatalf("without the gateway: %q, %v", got, err)
	}
	if got, err := get(w.guest(), client); got != "secure example.com" || err != nil {
		t.Errorf("without encryption: %q, %v", got, err)
	}
	w.wantDials("example.com:443")
	if _, err := get(w.guest(), hidden); !isAlert(err, accessDenied) {
		t.Errorf("encrypted: %v", err)
	}
	w.wantDials()
	w.wantRefused("public.example")
}

// slow sends each byte by one call.
type slow struct{ net.Conn }

func (s slow) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := s.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestALargeClientHelloInManyPieces(t *testing.T) {
	w := newWorld(t, 443)
	addr, client := secure(t, nil)
	w.host("example.com", addr)
	for i := range 230 {
		client.NextProtos = append(client.NextProtos, fmt.Sprintf("%03d%s", i, strings.Repeat("x", 250)))
	}
	client.NextProtos = append(client.NextProtos, "http/1.1")
	if n := len(helloFor(t, client)); n < 58_000 {
		t.Fatalf("the ClientHello has %d bytes only", n)
	}
	if got, err := get(slow{w.guest()}, client); got != "secure example.com" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	// Each byte in a record.
	server := newRawServer(t)
	w.host("tiny.example", server.addr)
	var tiny []byte
	for _, b := range helloFor(t, tlsFor("tiny.example"))[5:] {
		tiny = append(tiny, handshake, 3, 1, 0, 1, b)
	}
	guest := w.send(string(tiny))
	wantRead(t, server.accept(), string(tiny))
	guest.Close()
	w.wantRefused()
	// A record for each byte of the largest is too much.
	many := []byte{handshake, 3, 1, 0, 4, 1, 0, 0xff, 0xff}
	for len(many) < mostHello+1 {
		many = append(many, handshake, 3, 1, 0, 1, 0)
	}
	guest = w.guest()
	if _, err := guest.Write(many); !errors.Is(err, syscall.ECONNRESET) {
		wantReset(t, guest)
	}
}

// After the handshake began, both ends see of each other what they would see without the gateway.
func TestEndsOfTLSArePassedOn(t *testing.T) {
	w := newWorld(t, 443)
	server := newRawServer(t)
	w.host("example.com", server.addr)
	hello := string(helloFor(t, tlsFor("example.com")))
	join := func() (guest, host *net.TCPConn) {
		guest = w.send(hello + "and more")
		host = server.accept()
		wantRead(t, host, hello+"and more")
		return guest, host
	}
	guest, host := join()
	guest.CloseWrite()
	wantEnd(t, host)
	_, _ = io.WriteString(host, "late")
	host.CloseWrite()
	if got, err := io.ReadAll(guest); string(got) != "late" || err != nil {
		t.Errorf("after half of it was closed: %q, %v", got, err)
	}
	guest, host = join()
	_ = host.SetLinger(0)
	host.Close()
	wantReset(t, guest)
	guest, host = join()
	_ = guest.SetLinger(0)
	guest.Close()
	wantReset(t, host)
	guest, host = join()
	data := strings.Repeat("0123456789", 1_000_000)
	go func() {
		_, _ = io.WriteString(host, data)
		host.Close()
	}()
	if got, err := io.ReadAll(guest); string(got) != data || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAHostThatCannotBeReachedIsAReset(t *testing.T) {
	w := newWorld(t, 443)
	w.mu.Lock()
	w.allowed["example.com"] = true // It has no server.
	w.mu.Unlock()
	if got := wantReset(t, w.send(string(helloFor(t, tlsFor("example.com"))))); got != "" {
		t.Errorf("TLS: %q", got)
	}
	if got := wantReset(t, w.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")); got != "" {
		t.Errorf("HTTP: %q", got)
	}
	w.wantDials("example.com:443", "example.com:443")
	w.wantRefused()
}

// The guest that sends the first half of what decides has no decision, and was not refused by policy.
func TestHalfAClientHelloIsNotWaitedForForever(t *testing.T) {
	hello := helloFor(t, tlsFor("example.com"))
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 5, len(hello) - 1} {
			p := newPiped(t)
			if life := p.life(t, hello[:n]); life != headTime {
				t.Errorf("%d bytes: the connection ends after %v", n, life)
			}
			p.wantRefused()
		}
		p := newPiped(t)
		guest := p.connect()
		if _, err := guest.Write(hello); err != nil {
			t.Fatal(err)
		}
		if got := <-p.dialed; got != "example.com" {
			t.Errorf("the whole: %q was dialed", got)
		}
	})
}

func tlsFor(name string) *tls.Config { return &tls.Config{ServerName: name} }
