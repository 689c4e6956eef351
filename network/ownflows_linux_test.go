package network

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rundlet/rundlet/network/shares"
)

// What the router opens for a slot, to name servers and to hosts, counts as what the slot opens.
func TestASlotHasAShareOfWhatIsOpenedForIt(t *testing.T) {
	const most = 20
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}, "b.example": {internetIP}})
	n := w.open(w.config())
	policy := byName("*.example")
	good := w.guest(w.acquire(n, policy))
	for _, c := range []struct {
		what, to string
		shares   shares.Shares
		port     uint16
		open     func(conn net.Conn, i int) error // One more for the same flow of the slot.
	}{
		{"questions", resolverIP + ":53", shares.Shares{Slot: most, PerSecond: 1000, Burst: 1000}, 53, func(conn net.Conn, i int) error {
			c := &dns.Conn{Conn: conn}
			if err := c.WriteMsg(new(dns.Msg).SetQuestion(fmt.Sprintf("x%d.example.", i), dns.TypeA)); err != nil {
				return err
			}
			_, err := c.ReadMsg()
			return err
		}},
		{"requests", internetIP + ":80", shares.Shares{Slot: 1000, PerSecond: 1, Burst: most}, 80, func(conn net.Conn, i int) error {
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %c.example\r\n\r\n", 'a'+i%2)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}},
	} {
		c.shares.Bucket, c.shares.Down = 1000, 125e6
		w.share(n, c.shares)
		s := w.acquire(n, policy)
		conn, err := rawDial(w.guest(s), "tcp", c.to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(silence)) // The kernel tries again, each second.
		opened := 0
		for err == nil && opened < 3*most {
			if err = c.open(conn, opened); err == nil {
				opened++
			}
		}
		if opened < most/2 {
			t.Fatalf("%s: %d, %v", c.what, opened, err)
		}
		own := 0
		for f := range w.tracked(w.host) {
			if f.DstPort == c.port {
				own++
			}
		}
		if own > most+10 { // The others are of the other slot.
			t.Errorf("%s: the host tracks %d flows", c.what, own)
		}
		if got := lookUp(t, good, "udp", resolverIP+":53", "a.example"); len(got) != 1 {
			t.Errorf("%s: the other slot gets %v", c.what, got)
		}
		if !gets(good, internetIP, "b.example", true) {
			t.Errorf("%s: the other slot has no TLS", c.what)
		}
	}
}
