package network

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// A guest sends large packets by TCP although the host's own link takes smaller ones only.
func TestTCPPassesALinkOfTheHostWithSmallerPackets(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	for name, p := range map[string]Policy{"open": allow, "limited": only(internetIP)} {
		s := w.acquire(n, p)
		w.in(w.host, func() error {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			link, err := n.uplink.links.LinkByIndex(eth0.Index)
			if err != nil {
				return err
			}
			return n.uplink.links.LinkSetMTU(link, 1300)
		})
		c, err := dial(w.guest(s), "tcp", internetIP+":80")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		sent := bytes.Repeat([]byte("0123456789"), 10_000)
		go c.Write(sent)
		got := make([]byte, len(sent))
		if k, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: %d of %d bytes came back: %v", name, k, len(sent), err)
		}
	}
}
