package usernet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestTheHostItselfIsNotReached(t *testing.T) {
	const later = "203.0.113.9"
	w := newWorld(t, nil)
	var reached atomic.Int32
	count := func(c *net.TCPConn) { reached.Add(1); echo(c) }
	w.listen(nil, ":7001", count)
	w.packets(nil, ":7001", func(b []byte, _ net.Addr) []byte { reached.Add(1); return b })
	w.in(w.internet, func() { up(t, "lo", later+"/32") })
	w.listen(w.internet, ":7001", echo)
	w.packets(w.internet, later+":7001", func(b []byte, _ net.Addr) []byte { return b })

	// The server answers other hosts, and what is not the host's is reached.
	c, err := w.dial(w.internet, "tcp", hostAddr+":7001", patience)
	must(t, err)
	must(t, answers(c))
	must(t, answers(w.tcp(later+":7001")))
	_, err = ask(w.udp(later+":7001"), []byte("x"))
	must(t, err)
	reached.Store(0)

	// An address that the host gets meanwhile.
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	addr, err := netlink.ParseAddr(later + "/32")
	must(t, err)
	must(t, netlink.AddrAdd(lo, addr))
	t.Cleanup(func() { must(t, netlink.AddrDel(lo, addr)) })
	for _, to := range []string{hostAddr, later, "192.0.2.255", "169.254.1.1", "0.1.2.3", w.cfg.Gateway().String(), w.cfg.Nameserver().String(), w.cfg.Inside().Next().Next().String()} {
		if _, err := w.dial(w.inside, "tcp", to+":7001", patience); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("TCP to %s: %v", to, err)
		}
		if _, err := ask(w.udp(to+":7001"), []byte("x")); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("UDP to %s: %v", to, err)
		}
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("the host was reached %d times", n)
	}
}

// Addresses that a kernel sends nowhere by this link can come in frames all the same.
func TestWhatIsForbidden(t *testing.T) {
	newWorld(t, nil)
	r, err := openReach(Config{}.prefix())
	must(t, err)
	defer r.close()
	for to, want := range map[string]bool{
		hostAddr: true, "127.0.0.1": true, "127.0.0.53": true, "127.255.255.255": true, "0.0.0.0": true, "255.255.255.255": true,
		"224.0.0.1": true, "239.255.255.250": true, "240.0.0.1": true, "169.254.169.254": true, "192.0.2.255": true,
		"198.19.223.249": true, "198.19.223.255": true, "::1": true, "2001:db8::1": true, "::ffff:203.0.113.1": true,
		serverAddr: false, "192.0.2.2": false, "198.19.223.247": false, "8.8.8.8": false,
	} {
		if got := r.forbids(netip.MustParseAddr(to)); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
}

// resolvConf is a file with name servers.
func resolvConf(t *testing.T, servers ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := ""
	for _, s := range servers {
		text += "nameserver " + s + "\n"
	}
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// nameServer answers queries with as many bytes as there are in the query's 13th and 14th: over UDP and, longer, TCP.
func (w *world) nameServer(ns *os.File, at string) {
	answer := func(b []byte) []byte {
		out := make([]byte, max(12, int(binary.BigEndian.Uint16(b[12:]))))
		copy(out, b[:2])
		out[2] = 0x80
		return out
	}
	w.packets(ns, at+":53", func(b []byte, _ net.Addr) []byte { return answer(b) })
	w.listen(ns, at+":53", func(c *net.TCPConn) {
		b := make([]byte, 2+14)
		if _, err := io.ReadFull(c, b); err == nil {
			out := answer(b[2:])
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
		}
	})
}

// query has an identifier and asks for a number of bytes.
func query(id, size uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	return binary.BigEndian.AppendUint16(append(b, make([]byte, 10)...), size)
}

func TestTheNameServer(t *testing.T) {
	// The first does not answer, and the second is one that only the host can reach.
	w := newWorld(t, func(c *Config) { c.ResolvConf = resolvConf(t, silentAddr, "127.0.0.53") })
	w.nameServer(nil, "127.0.0.53")
	at := w.cfg.Nameserver().String() + ":53"
	for i, size := range []uint16{0, 500, 1500, 4000, 60000} {
		got, err := ask(w.udp(at), query(uint16(i), size))
		if err != nil || len(got) != max(12, int(size)) || !bytes.Equal(got[:2], []byte{0, byte(i)}) {
			t.Errorf("UDP: %d bytes of %d, %v", len(got), size, err)
		}
		c := w.tcp(at)
		_, err = c.Write(append([]byte{0, 14}, query(uint16(i), size)...))
		must(t, err)
		if got, err := io.ReadAll(c); err != nil || len(got) != 2+max(12, int(size)) {
			t.Errorf("TCP: %d bytes of %d, %v", len(got), size, err)
		}
	}
	// A host that moves to another network.
	w.nameServer(w.internet, serverAddr)
	must(t, os.WriteFile(w.cfg.ResolvConf, []byte("nameserver "+serverAddr+"\n"), 0o600))
	if got, err := ask(w.udp(at), query(7, 100)); err != nil || len(got) != 100 {
		t.Errorf("the new server: %d bytes, %v", len(got), err)
	}
}
