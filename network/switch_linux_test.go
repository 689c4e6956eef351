package network

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/network/namespace"
)

func TestSetPolicyLive(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	n := w.open(w.config())
	s := w.acquire(n, allow)
	guest := w.guest(s)
	c, err := dial(guest, "tcp", internetIP+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server := w.listenUDP(w.outer, internetIP+":99")
	client := w.listenUDP(guest, s.GuestIP.String()+":0")
	client.WriteTo([]byte("x"), server.LocalAddr())
	buf := make([]byte, 64)
	server.SetDeadline(time.Now().Add(reachTime))
	_, from, err := server.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}

	set := func(p Policy) {
		t.Helper()
		if err := n.SetPolicy(context.Background(), s.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	echo := func(wait time.Duration) error {
		c.SetDeadline(time.Now().Add(wait))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(buf)
		return err
	}
	if err := echo(reachTime); err != nil {
		t.Fatal(err)
	}
	set(deny)
	if err := echo(200 * time.Millisecond); err == nil {
		t.Error("an open connection still passes")
	}
	if err := reach(guest, "tcp", internetIP+":80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("new connection: %v", err)
	}
	server.WriteTo([]byte("late"), from)
	client.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if k, _, err := client.ReadFrom(buf); err == nil {
		t.Errorf("received %q without permission", buf[:k])
	}
	set(allow)
	if err := reach(guest, "tcp", internetIP+":80"); err != nil {
		t.Errorf("allowed again: %v", err)
	}
	if err := n.SetPolicy(context.Background(), "s-unknown", allow); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown slot: %v", err)
	}
}

// TestNoOpenWindow sends from the instant a namespace exists.
func TestNoOpenWindow(t *testing.T) {
	w := newWorld(t)
	server := w.listenUDP(w.outer, internetIP+":99")
	n := w.open(w.config())
	allowed := w.acquire(n, allow) // The way out exists.
	ctx, stop := context.WithCancel(context.Background())
	sent := make(chan int, 1)
	go func() { sent <- sendFromEverySlot(ctx, n, allowed.ID, internetIP+":99") }()
	for range 20 {
		w.acquire(n, deny)
	}
	stop()
	if k := <-sent; k == 0 {
		t.Error("no packet was sent: the test shows nothing")
	}
	// A permitted packet comes behind all of them.
	c := w.listenUDP(w.guest(allowed), allowed.GuestIP.String()+":0")
	if _, err := c.WriteTo([]byte("permitted"), server.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	server.SetDeadline(time.Now().Add(reachTime))
	buf := make([]byte, 64)
	k, _, err := server.ReadFrom(buf)
	if err != nil || string(buf[:k]) != "permitted" {
		t.Errorf("first packet to arrive is %q, %v", buf[:k], err)
	}
}

// sendFromEverySlot sends from each new namespace but one until ctx ends, and
// returns how many packets the guests sent.
func sendFromEverySlot(ctx context.Context, n *Network, except, to string) (sent int) {
	seen := map[string]bool{except: true}
	for ctx.Err() == nil {
		files, _ := os.ReadDir(n.pool.path(""))
		for _, f := range files {
			if seen[f.Name()] {
				continue
			}
			ns, ok, err := namespace.Open(n.pool.path(f.Name()))
			if err != nil || !ok {
				continue // The file is there, the namespace is not yet.
			}
			seen[f.Name()] = true
			namespace.In(ns, func() error {
				for k := 0; k < 20 && ctx.Err() == nil; {
					c, err := net.Dial("udp", to)
					if err != nil {
						continue // No route yet.
					}
					if _, err := c.Write([]byte("early")); err == nil {
						k++
						sent++
					}
					c.Close()
				}
				return nil
			})
			ns.Close()
		}
	}
	return sent
}
