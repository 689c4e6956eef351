package network

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// A guest sends large packets by TCP although the host's own link takes smaller ones only.
func TestTCPPassesALinkOfTheHostWithSmallerPackets(t *testing.T) {
	w := newWorld(t)
	w.serve(w.outer, 80)
	w.narrow(1300)
	n := w.open(w.config())
	for name, p := range map[string]Policy{"open": allow, "limited": only(internetIP)} {
		s := w.acquire(n, p)
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
