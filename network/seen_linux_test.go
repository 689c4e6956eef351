package network

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/namespace"
)

// sends has a guest send bytes to an address over TCP until they are acknowledged as read.
func sends(t *testing.T, w *world, guest Slot, port string, size int) {
	t.Helper()
	var ln net.Listener
	w.in(w.outer, func() (err error) {
		ln, err = net.Listen("tcp", internetIP+":"+port)
		return err
	})
	defer ln.Close()
	got := make(chan int64, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	var c net.Conn
	if err := namespace.In(w.guest(guest), func() (err error) {
		c, err = net.DialTimeout("tcp", internetIP+":"+port, reachTime)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(bytes.Repeat([]byte("x"), size)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if n := <-got; n != int64(size) {
		t.Fatalf("%d of %d bytes arrived", n, size)
	}
}

func TestWhatPassesTheLinkOfASlotIsCounted(t *testing.T) {
	w := newWorld(t)
	n := w.open(w.config())
	s, other := w.acquire(n, allow), w.acquire(n, allow)
	before, err := n.Traffic(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	quiet, err := n.Traffic(other.ID)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	sends(t, w, s, "4000", size)
	now, err := n.Traffic(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if out := now.BytesOut - before.BytesOut; out < size || out > 2*size {
		t.Errorf("%d bytes went out, of %d", out, size)
	}
	if in := now.BytesIn - before.BytesIn; in == 0 || in > size/2 {
		t.Errorf("%d bytes came in", in)
	}
	if now.PacketsOut <= before.PacketsOut || now.PacketsIn <= before.PacketsIn {
		t.Errorf("packets: %+v, before %+v", now, before)
	}
	if after, err := n.Traffic(other.ID); err != nil || after.BytesOut-quiet.BytesOut > size/2 {
		t.Errorf("the other slot: %+v, before %+v, %v", after, quiet, err)
	}

	// The kernel's counters outlive the daemon.
	n.abandon()
	n = w.open(w.config())
	if lost, err := n.Adopt(t.Context(), []string{s.ID, other.ID}); err != nil || len(lost) > 0 {
		t.Fatalf("lost %q, %v", lost, err)
	}
	if again, err := n.Traffic(s.ID); err != nil || again.BytesOut < now.BytesOut || again.BytesIn < now.BytesIn {
		t.Errorf("after a restart: %+v, %v; before %+v", again, err, now)
	}
	if err := n.Release(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Traffic(s.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a slot that is gone: %v", err)
	}
}

func TestConnectionsAndQueriesByNameAreCounted(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{"a.example": {internetIP}, "other.example": {internetIP2}})
	n := w.open(w.config())
	s, other := w.acquire(n, byName("a.example")), w.acquire(n, byName("a.example"))
	guest := w.guest(s)
	for range 2 {
		if !gets(guest, internetIP, "a.example", true) || !gets(guest, internetIP, "a.example", false) {
			t.Fatal("the allowed name is not reached")
		}
		if gets(guest, internetIP, "other.example", true) {
			t.Fatal("the other name is reached")
		}
		lookUp(t, guest, "udp", resolverIP+":53", "other.example")
		lookUp(t, guest, "udp", resolverIP+":53", "a.example")
	}
	got, err := n.Traffic(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Connections != 4 || got.RefusedConnections != 2 || got.RefusedQueries != 2 || got.RefusedPackets != 0 || got.BytesOut == 0 || got.BytesIn == 0 {
		t.Errorf("%+v", got)
	}
	awaitRefusal(t, n, s, internetIP2+":99", func() { _ = reachWithin(time.Second, guest, "tcp", internetIP2+":99") })
	if got, err = n.Traffic(s.ID); err != nil || got.RefusedPackets == 0 || got.Connections != 4 {
		t.Errorf("a refused packet: %+v, %v", got, err)
	}
	if of, err := n.Traffic(other.ID); err != nil || of.Connections+of.RefusedConnections+of.RefusedQueries+of.RefusedPackets != 0 {
		t.Errorf("the other slot: %+v, %v", of, err)
	}
}
