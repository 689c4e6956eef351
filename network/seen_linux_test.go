package network

import (
	"bytes"
	"errors"
	"fmt"
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

// A slot that may reach every name is seen in full; what fails, and what another slot reaches, is not seen.
func TestHostsThatASlotReachesByNameAreRemembered(t *testing.T) {
	w := newWorld(t)
	w.named(map[string][]string{
		"a.example": {internetIP}, "b.example": {internetIP2}, "other.example": {internetIP2}, "private.example": {"10.77.0.1"},
	})
	n := w.open(w.config())
	s, other := w.acquire(n, byName("*")), w.acquire(n, byName("other.example"))
	guest := w.guest(s)
	if !gets(guest, internetIP, "A.Example", true) || !gets(guest, internetIP, "a.example", false) {
		t.Fatal("the host is not reached")
	}
	if gets(guest, internetIP, "missing.example", true) || gets(guest, internetIP, "private.example", true) || gets(guest, internetIP, internetIP, false) {
		t.Fatal("what does not exist is reached")
	}
	lookUp(t, guest, "udp", resolverIP+":53", "b.example")
	lookUp(t, guest, "udp", resolverIP+":53", "private.example")
	lookUp(t, guest, "udp", resolverIP+":53", "missing.example")
	if !gets(w.guest(other), internetIP2, "other.example", true) {
		t.Fatal("the other slot does not reach its host")
	}
	hosts := func(id string) string {
		traffic, err := n.Traffic(id)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, h := range traffic.Hosts {
			text += fmt.Sprintf("%s %v %d %d, ", h.Name, h.Ports, h.Connections, h.Answers)
		}
		return text
	}
	if got, want := hosts(s.ID), "a.example [80 443] 2 0, b.example [] 0 1, "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := hosts(other.ID), "other.example [443] 1 0, "; got != want {
		t.Errorf("the other slot: %s, want %s", got, want)
	}
	if err := n.Release(t.Context(), s.ID); err != nil { // The next slot may have its address.
		t.Fatal(err)
	}
	if got := hosts(w.acquire(n, byName("*")).ID); got != "" {
		t.Errorf("a new slot has %s", got)
	}
}
