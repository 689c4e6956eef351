package gvisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A localState is a connection of the guest to itself, in a state that must
// survive a restore: open makes it, and check uses it to its end.
type localState struct {
	name  string
	open  func(*pair) error
	check func(*pair) error
}

// pair are the two ends of a connection.
type pair struct {
	listener net.Listener
	a, b     net.Conn
	file     string
	done     chan error
}

func (p *pair) connect(network, address string) (err error) {
	if p.listener, err = net.Listen(network, address); err != nil {
		return err
	}
	if p.a, err = net.Dial(network, p.listener.Addr().String()); err != nil {
		return err
	}
	p.b, err = p.listener.Accept()
	return err
}

func (p *pair) deadline() error {
	var errs []error
	for _, c := range []net.Conn{p.a, p.b} {
		if c != nil {
			errs = append(errs, c.SetDeadline(time.Now().Add(20*time.Second)))
		}
	}
	return errors.Join(errs...)
}

// say sends from one end and reads at the other.
func say(from, to net.Conn, text string) error {
	if _, err := io.WriteString(from, text); err != nil {
		return err
	}
	return hear(to, text)
}

func hear(c net.Conn, text string) error {
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("read %q: %w", text, err)
	}
	if string(got) != text {
		return fmt.Errorf("read %q, want %q", got, text)
	}
	return nil
}

func ended(c net.Conn) error {
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("read at the end: %d bytes, %w", n, err)
	}
	return nil
}

func both(p *pair) error {
	return errors.Join(say(p.a, p.b, "from a"), say(p.b, p.a, "from b"), p.a.Close(), ended(p.b))
}

var much = bytes.Repeat([]byte("0123456789abcdef"), 1<<20)

// flood writes more than the connection holds, so that the writer waits.
func flood(p *pair) error {
	p.done = make(chan error, 1)
	go func() {
		_, err := p.a.Write(much)
		p.done <- errors.Join(err, p.a.Close())
	}()
	return nil
}

func flooded(p *pair) error {
	got, err := io.ReadAll(p.b)
	if err == nil && !bytes.Equal(got, much) {
		err = fmt.Errorf("%d of %d bytes came", len(got), len(much))
	}
	return errors.Join(err, <-p.done)
}

var localStates = []localState{
	{"idle", func(p *pair) error { return p.connect("tcp4", "127.0.0.1:0") }, both},
	{"idle, IPv6", func(p *pair) error { return p.connect("tcp6", "[::1]:0") }, both},
	{"with data", func(p *pair) error {
		if err := p.connect("tcp4", "127.0.0.1:0"); err != nil {
			return err
		}
		_, err := io.WriteString(p.a, "before")
		return err
	}, func(p *pair) error { return errors.Join(hear(p.b, "before"), both(p)) }},
	{"full", func(p *pair) error {
		return errors.Join(p.connect("tcp4", "127.0.0.1:0"), flood(p))
	}, flooded},
	{"not accepted", func(p *pair) (err error) {
		if p.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			return err
		}
		if p.a, err = net.Dial("tcp4", p.listener.Addr().String()); err != nil {
			return err
		}
		_, err = io.WriteString(p.a, "before")
		return err
	}, func(p *pair) (err error) {
		if p.b, err = p.listener.Accept(); err != nil {
			return err
		}
		return errors.Join(p.deadline(), hear(p.b, "before"), both(p))
	}},
	{"an accept that waits", func(p *pair) (err error) {
		p.done = make(chan error, 1)
		if p.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			return err
		}
		go func() {
			var err error
			p.b, err = p.listener.Accept()
			p.done <- err
		}()
		return nil
	}, func(p *pair) (err error) {
		if p.a, err = net.DialTimeout("tcp4", p.listener.Addr().String(), patience); err != nil {
			return err
		}
		return errors.Join(<-p.done, p.deadline(), both(p))
	}},
	{"half closed", func(p *pair) error {
		if err := p.connect("tcp4", "127.0.0.1:0"); err != nil {
			return err
		}
		return errors.Join(p.a.(*net.TCPConn).CloseWrite(), ended(p.b))
	}, func(p *pair) error { return errors.Join(say(p.b, p.a, "late"), p.b.Close(), ended(p.a)) }},
	{"in TIME-WAIT with data", func(p *pair) error {
		if err := p.connect("tcp4", "127.0.0.1:0"); err != nil {
			return err
		}
		if err := errors.Join(p.a.(*net.TCPConn).CloseWrite(), ended(p.b)); err != nil {
			return err
		}
		_, err := io.WriteString(p.b, "late")
		err = errors.Join(err, p.b.Close())
		p.b = nil
		return err
	}, func(p *pair) error {
		return errors.Join(hear(p.a, "late"), ended(p.a), p.a.Close())
	}},
	{"kept alive", func(p *pair) error {
		if err := p.connect("tcp4", "127.0.0.1:0"); err != nil {
			return err
		}
		return p.a.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2})
	}, both},
	{"UDP", func(p *pair) error {
		server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		p.b = server
		if p.a, err = net.Dial("udp4", server.LocalAddr().String()); err != nil {
			return err
		}
		_, err = io.WriteString(p.a, "before")
		return err
	}, func(p *pair) error { return errors.Join(hear(p.b, "before"), say(p.a, p.b, "after")) }},
	{"Unix", func(p *pair) error {
		p.file = "/tmp/local"
		_ = os.Remove(p.file)
		if err := p.connect("unix", p.file); err != nil {
			return err
		}
		_, err := io.WriteString(p.a, "before")
		return err
	}, func(p *pair) error {
		again, err := net.Dial("unix", p.file)
		if err == nil {
			err = again.Close()
		}
		return errors.Join(err, hear(p.b, "before"), both(p))
	}},
	{"Unix, full", func(p *pair) error {
		return errors.Join(p.connect("unix", "@local"), flood(p))
	}, flooded},
	{"a connect that waits", waitingConnect, func(p *pair) error {
		// An accept makes space for the waiting connection.
		var err error
		for range cap(p.done) {
			if p.b, err = p.listener.Accept(); err != nil {
				return err
			}
			if err := <-p.done; err != nil {
				return err
			}
		}
		return nil
	}},
}

// waitingConnect dials a listener whose queue is full, so that some of the
// connections are not established.
func waitingConnect(p *pair) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 1)); err != nil {
		return err
	}
	if p.listener, err = net.FileListener(file); err != nil {
		return err
	}
	const n = 4
	p.done = make(chan error, n)
	for range n {
		go func() {
			_, err := net.DialTimeout("tcp4", p.listener.Addr().String(), 30*time.Second)
			p.done <- err
		}()
	}
	return nil
}

var localPairs = map[string]*pair{}

// openLocal and checkLocal answer with what went wrong.
func openLocal(w http.ResponseWriter, _ *http.Request) {
	for _, s := range localStates {
		localPairs[s.name] = &pair{}
		if err := s.open(localPairs[s.name]); err != nil {
			fmt.Fprintf(w, "%s: %v\n", s.name, err)
		}
	}
}

func checkLocal(w http.ResponseWriter, _ *http.Request) {
	for _, s := range localStates {
		p := localPairs[s.name]
		if err := errors.Join(p.deadline(), s.check(p)); err != nil && !errors.Is(err, syscall.EAFNOSUPPORT) {
			fmt.Fprintf(w, "%s: %v\n", s.name, err)
		}
	}
}
