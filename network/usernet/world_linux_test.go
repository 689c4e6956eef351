package usernet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/namespace/namespacetest"
)

// innerEnv is set in the run that TestMain makes.
const innerEnv = "USERNET_TEST_INNER"

// patience ends tests that wait for nothing.
const patience = 20 * time.Second

// TestMain runs the tests in new user, network and mount namespaces: an ordinary user can run them, too, and root has
// no more rights than that.
func TestMain(m *testing.M) {
	if os.Getenv(innerEnv) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig follows the thread that forked.
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0], cmd.Env = os.Args[0], append(os.Environ(), innerEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(max(1, exit.ExitCode()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in new namespaces:", err)
		os.Exit(1)
	}
}

// Addresses of the world. The host has hostAddr, and all else that is not in the link is in the internet's namespace.
const (
	hostAddr   = "192.0.2.1"
	serverAddr = "203.0.113.1"
	silentAddr = "203.0.113.66" // Drops packets.
	absentAddr = "192.0.2.77"   // Does not exist, which the host finds out.
)

// world has the namespace of this process for the host, one for the internet and one for guests.
type world struct {
	t                testing.TB
	internet, inside *os.File
	cfg              Config
	end              func() error // Ends Serve and returns its error.
	ended            chan error   // Receives that error.
}

// newWorld makes a world in which Serve runs, if it is to.
func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, cfg: Config{times: times{resolver: 200 * time.Millisecond}}}
	if change != nil {
		change(&w.cfg)
	}
	w.internet, w.inside = namespacetest.New(t, nil), namespacetest.New(t, nil)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "internet", PeerNamespace: netlink.NsFd(int(w.internet.Fd()))}))
	eth0, err := netlink.LinkByName("eth0")
	must(t, err)
	t.Cleanup(func() { must(t, netlink.LinkDel(eth0)) })
	up(t, "lo")
	up(t, "eth0", hostAddr+"/24")
	must(t, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("192.0.2.2")}))
	w.in(w.internet, func() {
		up(t, "lo", serverAddr+"/32")
		up(t, "internet", "192.0.2.2/24")
		active(t, "internet")
	})
	active(t, "eth0")
	w.serve()
	return w
}

// serve links the namespace of guests and serves it until the test, or end, ends it.
func (w *world) serve() {
	w.t.Helper()
	var link *os.File
	w.in(w.inside, func() {
		var err error
		link, err = Link(w.cfg)
		must(w.t, err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	w.ended = ended
	go func() { ended <- Serve(ctx, link, w.cfg) }()
	done := false
	w.end = func() error {
		if done {
			return nil
		}
		done = true
		cancel()
		err := <-ended
		link.Close()
		return err
	}
	w.t.Cleanup(func() { must(w.t, w.end()) })
}

// in runs fn in a namespace. fn may only fail the test with must.
func (w *world) in(ns *os.File, fn func()) {
	w.t.Helper()
	must(w.t, namespace.In(ns, func() error { fn(); return nil }))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		panic(err)
	}
}

// up sets an interface of the calling thread's namespace up.
func up(t testing.TB, name string, addrs ...string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		must(t, netlink.AddrReplace(link, addr))
	}
}

// active waits until the kernel has activated an interface of the calling thread's namespace, which drops packets until then.
func active(t testing.TB, name string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		link, err := netlink.LinkByName(name)
		must(t, err)
		if link.Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(deadline) {
			must(t, fmt.Errorf("%s is %v", name, link.Attrs().OperState))
		}
	}
}

// dial connects from a namespace.
func (w *world) dial(ns *os.File, network, to string, timeout time.Duration) (conn net.Conn, err error) {
	err = namespace.In(ns, func() error {
		conn, err = net.DialTimeout(network, to, timeout)
		return err
	})
	if err == nil {
		w.t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// tcp connects guests to an address.
func (w *world) tcp(to string) *net.TCPConn {
	w.t.Helper()
	c, err := w.dial(w.inside, "tcp", to, patience)
	must(w.t, err)
	return c.(*net.TCPConn)
}

// listen serves TCP in a namespace, or in that of this process for nil.
func (w *world) listen(ns *os.File, at string, handle func(*net.TCPConn)) {
	w.t.Helper()
	var ln net.Listener
	var err error
	listen := func() { ln, err = net.Listen("tcp", at) }
	if ns == nil {
		listen()
	} else {
		w.in(ns, listen)
	}
	must(w.t, err)
	w.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			go func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			}()
		}
	}()
}
