package usernet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

// straight links a namespace of guests with that of the internet, without this package.
func (w *world) straight() *os.File {
	w.t.Helper()
	ns := namespacetest.New(w.t, nil)
	w.in(ns, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "guest"
		must(w.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "straight", PeerNamespace: netlink.NsFd(int(w.internet.Fd()))}))
		up(w.t, "lo")
		up(w.t, "guest", "198.51.100.2/24")
		must(w.t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("198.51.100.1")}))
	})
	w.in(w.internet, func() {
		up(w.t, "straight", "198.51.100.1/24")
		active(w.t, "straight")
	})
	w.in(ns, func() { active(w.t, "guest") })
	return ns
}

// each runs a benchmark with connections of guests through Serve, and then by a bare veth pair.
func each(b *testing.B, handle func(*net.TCPConn), run func(b *testing.B, c net.Conn)) {
	w := newWorld(b, nil)
	w.listen(w.internet, serverAddr+":7000", handle)
	for name, ns := range map[string]*os.File{"usernet": w.inside, "bare": w.straight()} {
		b.Run(name, func(b *testing.B) {
			c, err := w.dial(ns, "tcp", serverAddr+":7000", patience)
			must(b, err)
			defer c.Close()
			before := processor(b)
			run(b, c)
			b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processor is the time in nanoseconds that this process has used, which other load on the host changes less: that of
// client, server and Serve.
func processor(b *testing.B) int64 {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

const block = 1 << 20

func BenchmarkUpload(b *testing.B) {
	each(b, func(c *net.TCPConn) { drain(c) }, func(b *testing.B, c net.Conn) {
		data := make([]byte, block)
		b.SetBytes(block)
		for b.Loop() {
			_, err := c.Write(data)
			must(b, err)
		}
		must(b, c.(*net.TCPConn).CloseWrite())
		if _, err := c.Read(data); !errors.Is(err, io.EOF) {
			b.Error(err)
		}
	})
}

// drain reads all, as cheaply as it can.
func drain(c net.Conn) {
	data := make([]byte, block)
	for {
		if _, err := c.Read(data); err != nil {
			return
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	each(b, func(c *net.TCPConn) {
		data := make([]byte, block)
		for {
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	}, func(b *testing.B, c net.Conn) {
		data := make([]byte, block)
		b.SetBytes(block)
		for b.Loop() {
			_, err := io.ReadFull(c, data)
			must(b, err)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	each(b, func(c *net.TCPConn) { _, _ = io.Copy(c, c) }, func(b *testing.B, c net.Conn) {
		data := make([]byte, 100)
		for b.Loop() {
			_, err := fmt.Fprintf(c, "%-100d", 1)
			must(b, err)
			_, err = io.ReadFull(c, data)
			must(b, err)
		}
	})
}

func BenchmarkConnect(b *testing.B) {
	w := newWorld(b, nil)
	w.listen(w.internet, serverAddr+":7000", func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) })
	for name, ns := range map[string]*os.File{"usernet": w.inside, "bare": w.straight()} {
		b.Run(name, func(b *testing.B) {
			before := processor(b)
			for b.Loop() {
				c, err := w.dial(ns, "tcp", serverAddr+":7000", patience)
				must(b, err)
				must(b, c.(*net.TCPConn).SetLinger(0)) // Its port is free at once.
				c.Close()
			}
			b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
