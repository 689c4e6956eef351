package usernet

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const amount = 100 << 20

// random is the same stream for the same seed.
func random(seed byte) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{seed}), amount) }

func digest(t *testing.T, r io.Reader) [sha256.Size]byte {
	t.Helper()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil || n != amount {
		t.Errorf("%d bytes of %d, %v", n, amount, err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func TestAHundredMebibytesEachWay(t *testing.T) {
	w := newWorld(t, nil)
	received := make(chan [sha256.Size]byte, 1)
	w.listen(w.internet, serverAddr+":7000", func(c *net.TCPConn) {
		var sending sync.WaitGroup
		sending.Go(func() {
			_, _ = io.Copy(c, random(2))
			c.CloseWrite()
		})
		received <- digest(t, c)
		sending.Wait()
	})
	c := w.tcp(serverAddr + ":7000")
	go func() {
		_, _ = io.Copy(c, random(1))
		c.CloseWrite()
	}()
	if digest(t, c) != digest(t, random(2)) {
		t.Error("other bytes arrive inside")
	}
	if <-received != digest(t, random(1)) {
		t.Error("other bytes arrive outside")
	}
}

func TestAnAbsentHostIsReported(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.dial(w.inside, "tcp", absentAddr+":1", patience); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Error(err)
	}
	c := w.udp(absentAddr + ":1")
	raw, err := c.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { must(t, unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVERR, 1)) }))
	if _, err := ask(c, []byte("x")); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("UDP: %v", err)
	}
}
