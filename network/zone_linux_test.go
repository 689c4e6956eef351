package network

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rundlet/rundlet/network/namespace"
)

// zone is a name server of the world, and records what it is asked.
type zone struct {
	mu          sync.Mutex
	hosts       map[string][]string // Addresses by name.
	asked       []string
	greeted     []string // Host names of TLS.
	certificate tls.Certificate
	roots       *x509.CertPool
	fails       bool // It answers that it cannot say.
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), ".")
	z.asked = append(z.asked, name)
	m := new(dns.Msg).SetReply(q)
	addrs, ok := z.hosts[name]
	if !ok {
		m.Rcode = dns.RcodeNameError
	}
	if z.fails {
		m.Rcode, addrs = dns.RcodeServerFailure, nil
	}
	for _, a := range addrs {
		rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN A %s", q.Question[0].Name, a))
		m.Answer = append(m.Answer, rr)
	}
	w.WriteMsg(m)
}

// check reports a question for a name that no guest may reach.
func (z *zone) check(t testing.TB, when string) {
	t.Helper()
	if z.wasAsked("forbidden.example") {
		t.Errorf("%s: a question for a forbidden name arrived", when)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if slices.Contains(z.greeted, "forbidden.example") {
		t.Errorf("%s: TLS for a forbidden name arrived", when)
	}
}

func (z *zone) forget() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = nil
}

func (z *zone) wasAsked(name string) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Contains(z.asked, name)
}

// named adds a name server and web servers to the world: HTTP on port 80, TLS on 443, which say "hello" and the host that
// they were asked for, with the header X-Secret behind it, and echoes on 8081.
func (w *world) named(hosts map[string][]string) *zone {
	w.t.Helper()
	some := httptest.NewTLSServer(nil) // For its certificate, which is for example.com and the names below it.
	some.Close()
	z := &zone{hosts: hosts, certificate: some.TLS.Certificates[0], roots: x509.NewCertPool()}
	z.roots.AddCert(some.Certificate())
	w.zone = z
	w.serve(w.outer, 8081)
	w.in(w.outer, func() error {
		packets, err := net.ListenPacket("udp", resolverIP+":53")
		if err != nil {
			return err
		}
		stream, err := net.Listen("tcp", resolverIP+":53")
		if err != nil {
			return err
		}
		for _, s := range []*dns.Server{{PacketConn: packets, Handler: z}, {Listener: stream, Handler: z}} {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go s.ActivateAndServe()
			<-started
			w.t.Cleanup(func() { s.Shutdown() })
		}
		plain, err := net.Listen("tcp", ":80")
		if err != nil {
			return err
		}
		encrypted, err := net.Listen("tcp", ":443")
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "hello ", r.Host, r.Header.Get("X-Secret"))
		})}
		w.t.Cleanup(func() { srv.Close() })
		go srv.Serve(plain)
		go srv.Serve(tls.NewListener(encrypted, &tls.Config{
			Certificates: some.TLS.Certificates,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				z.mu.Lock()
				defer z.mu.Unlock()
				z.greeted = append(z.greeted, hello.ServerName)
				return nil, nil
			},
		}))
		return nil
	})
	return z
}

func byName(patterns ...string) Policy { return Policy{AllowInternet: true, Names: patterns} }

// lookUp asks for the addresses of a name, as a guest does.
func lookUp(t testing.TB, guest *os.File, network, server, name string) []string {
	t.Helper()
	conn, err := rawDial(guest, network, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	c.SetDeadline(time.Now().Add(reachTime))
	if err := c.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	m, err := c.ReadMsg()
	if err != nil {
		t.Fatalf("look up %s at %s by %s: %v", name, server, network, err)
	}
	var out []string
	for _, rr := range m.Answer {
		out = append(out, rr.(*dns.A).A.String())
	}
	return out
}

func rawDial(guest *os.File, network, addr string) (c net.Conn, err error) {
	err = namespace.In(guest, func() (err error) {
		c, err = net.DialTimeout(network, addr, reachTime)
		return err
	})
	if err == nil {
		c.SetDeadline(time.Now().Add(reachTime))
	}
	return c, err
}

// get asks a web server at an address for a host, and returns which one it says it is; encrypted is by TLS.
func get(guest *os.File, addr, host string, encrypted bool) (string, error) {
	port := ":80"
	if encrypted {
		port = ":443"
	}
	c, err := rawDial(guest, "tcp", addr+port)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if encrypted {
		c = tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := bufio.NewReader(resp.Body).ReadString(0)
	return strings.TrimPrefix(text, "hello "), errors.Join(err, nil)
}

// gets reports whether the guest got an answer of the host.
func gets(guest *os.File, addr, host string, encrypted bool) bool {
	text, _ := get(guest, addr, host, encrypted)
	return text == host
}
