package network

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/network/queues"
	"github.com/rundlet/rundlet/network/shares"
)

// TestAFloodWaitsInItsOwnQueue: while the queue of a slot that floods is sent,
// which takes four seconds here, what others send overtakes it.
func TestAFloodWaitsInItsOwnQueue(t *testing.T) {
	const bandwidth = queues.Size / 4
	w := newWorld(t)
	cfg := w.config()
	cfg.UplinkBandwidth = bandwidth
	n := w.open(cfg)
	server := w.listenUDP(w.outer, internetIP+":99")
	if err := server.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(internetIP + ":99"))
	flood := w.listenUDP(w.guest(w.acquire(n, allow)), ":0")
	payload := append([]byte("flood"), make([]byte, 1000)...)
	for range 4 * queues.Size / len(payload) {
		if _, err := flood.WriteTo(payload, to); err != nil {
			t.Fatal(err)
		}
	}
	const neighbours = 4 // One may have the same queue.
	for range neighbours {
		c := w.listenUDP(w.guest(w.acquire(n, allow)), ":0")
		if _, err := c.WriteTo([]byte("neighbour"), to); err != nil {
			t.Fatal(err)
		}
	}
	overtook, behind := 0, 0
	buf := make([]byte, 2000)
	server.SetReadDeadline(time.Now().Add(30 * time.Second))
	for overtook < neighbours-1 || behind == 0 {
		k, _, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%d neighbours arrived before the flood's end: %v", overtook, err)
		}
		if bytes.HasPrefix(buf[:k], []byte("neighbour")) {
			overtook, behind = overtook+1, 0
		} else {
			behind++
		}
	}
}

func TestOneSlotHasABandwidth(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.SlotBandwidth, cfg.UplinkBandwidth = 1e6, 100e6
	n := w.open(cfg)
	w.acquire(n, allow)
	link, err := n.router.links.LinkByName(uplinkRouter)
	if err != nil {
		t.Fatal(err)
	}
	classes, err := n.router.links.ClassList(link, netlink.HANDLE_NONE)
	if err != nil {
		t.Fatal(err)
	}
	of := map[uint64]int{}
	for _, c := range classes {
		of[c.(*netlink.HtbClass).Ceil]++
	}
	if of[1e6] != queues.Classes || of[100e6] != 1 || len(of) != 2 {
		t.Errorf("classes by their bandwidth: %v", of)
	}
}

func TestWhatComesToASlotIsBounded(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.SlotBandwidth = 1000
	n := w.open(cfg)
	s, neighbour := w.acquire(n, allow), w.acquire(n, allow)
	server := w.listenUDP(w.outer, internetIP+":99")
	arrived := func(s Slot, size, count int) (k int) {
		guest := w.listenUDP(w.guest(s), ":0")
		if err := guest.SetReadBuffer(32 << 20); err != nil {
			t.Fatal(err)
		}
		guest.WriteTo([]byte("x"), server.LocalAddr())
		buf := make([]byte, 64<<10)
		server.SetReadDeadline(time.Now().Add(reachTime))
		_, from, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		for range count {
			if _, err := server.WriteTo(make([]byte, size), from); err != nil {
				t.Fatal(err)
			}
		}
		for {
			guest.SetReadDeadline(time.Now().Add(time.Second)) // Not one for all: what has arrived counts.
			if _, _, err := guest.ReadFrom(buf); err != nil {
				return k
			}
			k++
		}
	}
	const size = 60 << 10
	sent := 4 * shares.DownBurst / size
	if k := arrived(s, size, sent); k == 0 || k > shares.DownBurst/size+1 {
		t.Errorf("%d of %d packets arrived, want those of the burst: at most %d", k, sent, shares.DownBurst/size+1)
	}
	if k := arrived(neighbour, size, 10); k == 0 {
		t.Error("nothing arrived at a neighbour")
	}
}

func TestLostQueuesAreMadeAgain(t *testing.T) {
	w := newWorld(t)
	n := w.openHealing()
	w.acquire(n.Network, allow)
	link, err := n.router.links.LinkByName(uplinkRouter)
	if err != nil {
		t.Fatal(err)
	}
	classes := func() int {
		classes, err := n.router.links.ClassList(link, netlink.HANDLE_NONE)
		if err != nil {
			t.Fatal(err)
		}
		return len(classes)
	}
	if k := classes(); k != queues.Classes+1 {
		t.Fatalf("%d classes, want %d", k, queues.Classes+1)
	}
	root := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: queues.Major, Parent: netlink.HANDLE_ROOT}
	if err := n.router.links.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: root, QdiscType: "htb"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queues are there again", func() bool { return classes() == queues.Classes+1 })
}
