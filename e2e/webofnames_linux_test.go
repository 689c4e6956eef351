package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rundlet/rundlet/network/socks/sockstest"
	"github.com/rundlet/rundlet/node/certificate"
)

const (
	// nameServer and secondServer are those that a daemon asks by default; see network.Config. The second does not answer.
	nameServer, secondServer = "1.1.1.1", "8.8.8.8"
	// allowedHost may be reached by its name in these tests; forbiddenHost has the same address.
	allowedHost, forbiddenHost = "allowed.example", "forbidden.example"
)

// webOfNames is an internet with names: DNS for allowedHost and forbiddenHost, and HTTP and TLS that note which host they
// were asked for. What is for another host than allowedHost must not arrive.
type webOfNames struct {
	*arrivals
	root  string // The certificate of the authority for allowedHost, in PEM.
	mu    sync.Mutex
	asked map[string]int // Hosts, by "dns" or "tls" and name.
	proxy map[string]*sockstest.Proxy

	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	repository  http.Handler // Serves what is below /app.git over TLS; may be nil.
}

// makeNames is makeInternet with names.
func makeNames(t *testing.T, inside ...func()) *webOfNames {
	t.Helper()
	web := &webOfNames{arrivals: &arrivals{counts: map[string]int{}, fresh: make(chan struct{}, 1)}, asked: map[string]int{}, proxy: map[string]*sockstest.Proxy{}}
	only := httptest.NewServer(pages("proxy"))
	t.Cleanup(only.Close)
	makeInternet(t, append(inside, func() { web.sink(t); web.serve(t); web.proxies(t, only.Listener.Addr().String()) })...)
	return web
}

// trusted makes daemons that are started from now on trust the authority for allowedHost; sandboxes do not.
func (i *webOfNames) trusted(t *testing.T) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(root, []byte(i.root), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(root, 0o644), letIn(root)); err != nil { // Any user's daemon reads it.
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", root)
}

func (i *webOfNames) note(what, name string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked[what+" "+strings.TrimSuffix(name, ".")]++
}

// wrong is what was for other hosts.
func (i *webOfNames) wrong() (out []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for what, count := range i.asked {
		if !strings.HasSuffix(what, " "+allowedHost) && !strings.HasSuffix(what, "."+allowedHost) {
			out = append(out, fmt.Sprintf("%d times %s", count, what))
		}
	}
	slices.Sort(out)
	return out
}

func (i *webOfNames) count(what string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[what]
}

func (i *webOfNames) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	i.note("dns", q.Question[0].Name)
	m := new(dns.Msg).SetReply(q)
	if q.Question[0].Qtype == dns.TypeA {
		a := &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.ParseIP(internetAddr)}
		if strings.HasPrefix(q.Question[0].Name, "rebind.") {
			a.Hdr.Ttl = 0
			if i.count("dns rebind."+allowedHost)%2 == 0 {
				a.A = net.ParseIP(metadataAddr) // Every second time.
			}
		}
		m.Answer = []dns.RR{a}
	}
	w.WriteMsg(m)
}

// serve answers in the namespace of the calling thread.
func (i *webOfNames) serve(t *testing.T) {
	t.Helper()
	if err := address("lo", nameServer+"/32"); err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp4", nameServer+":53")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp4", nameServer+":53")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: i}, {Listener: stream, Handler: i}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	encrypted, err := net.Listen("tcp4", ":443")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := certificate.OpenAuthority(t.TempDir(), allowedHost, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(authority.Root)
	if err != nil {
		t.Fatal(err)
	}
	i.root, i.certificate = string(root), certificate.NewLocal(authority).GetCertificate
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if i.repository != nil && strings.HasPrefix(r.URL.Path, "/app.git/") {
				i.repository.ServeHTTP(w, r)
				return
			}
			pages("internet").ServeHTTP(w, r)
		}),
		TLSConfig: &tls.Config{
			GetCertificate: i.certificate,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				i.note("tls", hello.ServerName)
				return nil, nil
			},
		},
		ErrorLog: log.New(io.Discard, "", 0), // Of handshakes that break off.
	}
	go web.ServeTLS(encrypted, "", "") // Also HTTP/2.
	t.Cleanup(func() { web.Close() })
}
