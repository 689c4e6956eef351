package byname

import (
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
	"github.com/rundlet/rundlet/network/socks"
)

// nothing allows nothing, and records the names that it refused.
type nothing struct{ refused chan string }

func (nothing) Allowed(netip.Addr, string, uint16) bool      { return false }
func (nothing) Known(netip.Addr) bool                        { return true }
func (nothing) Reaches(netip.Addr, netip.AddrPort) bool      { return false }
func (nothing) Headers(netip.Addr, string) map[string]string { return nil }
func (nothing) Rewrites(netip.Addr) bool                     { return false }
func (nothing) NamesOf(netip.Addr, netip.AddrPort) []string  { return nil }
func (nothing) Proxy(netip.Addr) socks.Proxy                 { return socks.Proxy{} }
func (nothing) Bind(netip.Addr, string, []netip.Addr, time.Duration) error {
	panic("nothing is allowed")
}
func (nothing) Answered(netip.Addr, string)       { panic("nothing is allowed") }
func (nothing) Opened(netip.Addr, string, uint16) { panic("nothing is allowed") }
func (n nothing) Refused(_ netip.Addr, proto, name string, _ netip.AddrPort) {
	n.refused <- proto + " " + name
}

func TestTheServersOfANamespaceAnswerAndEnd(t *testing.T) {
	ns := namespacetest.New(t, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	before := runtime.NumGoroutine()
	for range 2 { // The second finds the ports free.
		guests := nothing{make(chan string, 1)}
		s, err := Serve(Config{NS: ns, Guests: guests, OnError: func(err error) {
			if !errors.Is(err, unix.ENOENT) { // The connection below was not redirected.
				t.Error(err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Serve(Config{NS: ns, Guests: guests}); err == nil {
			t.Error("the ports are taken twice")
		}
		conn, err := namespace.Dial(t.Context(), ns, "udp", netip.MustParseAddrPort("127.0.0.1:53"), 0)
		if err != nil {
			t.Fatal(err)
		}
		c := &dns.Conn{Conn: conn}
		c.SetDeadline(time.Now().Add(time.Minute))
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("a.example.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if m, err := c.ReadMsg(); err != nil || m.Rcode != dns.RcodeNameError {
			t.Errorf("%v, %v", m, err)
		}
		if got := <-guests.refused; got != "dns a.example" {
			t.Errorf("refused %q", got)
		}
		c.Close()
		tcp, err := namespace.DialTCP(t.Context(), ns, netip.MustParseAddrPort("127.0.0.1:443"))
		if err != nil && !errors.Is(err, unix.ECONNRESET) { // The gateway may be faster.
			t.Fatal(err)
		}
		s.Close()
		if err == nil {
			tcp.SetDeadline(time.Now().Add(time.Minute))
			if _, err := tcp.Read(make([]byte, 1)); err == nil {
				t.Error("a connection goes on without its gateway")
			}
			tcp.Close()
		}
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
		}
		runtime.Gosched()
	}
	if c, err := namespace.DialTCP(t.Context(), ns, netip.MustParseAddrPort("127.0.0.1:443")); err == nil {
		c.Close()
		t.Error("somebody still listens")
	}
}

func TestNamesArePrintable(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "a.example": "a.example", "a\x1b[2J": `"a\x1b[2J"`, "a b": `"a b"`, "ä": `"\u00e4"`, "a\xff": `"a\xff"`,
	} {
		if got := printable(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if got := printable(string(make([]byte, 1000))); len(got) > 4*mostName+2 {
		t.Errorf("%d bytes", len(got))
	}
}
