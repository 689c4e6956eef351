package gvisor

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The test guest's side of loopback_linux_test.go.

const (
	closingServer = "127.0.0.1:8000"
	// firstPort is the first local port of the connections to closingServer.
	// It is below the ports that the guest's stack picks.
	firstPort = 11000
	// patience is how long a client waits for a connection to itself.
	patience = 4 * time.Second
)

// closeFirst serves connections that the server ends first, once the client
// says so. Then the side that waits in TIME-WAIT is the one that a new
// connection must get through to.
var closeFirst = sync.OnceValue(func() error {
	l, err := net.Listen("tcp4", closingServer)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			}()
		}
	}()
	return nil
})

// dialFrom connects to closingServer from a local port.
func dialFrom(port int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
		Control: func(_, _ string, conn syscall.RawConn) error {
			var err error
			return errors.Join(conn.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}), err)
		}}
	return dialer.Dial("tcp4", closingServer)
}

// finish lets the server end a connection.
func finish(conn net.Conn) error {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	return ended(conn)
}

var kept []net.Conn

// short makes n connections at once, each from its own port and always the
// same one, and answers with how many failed and why the first of them did.
// Those that are kept end first.
func short(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err := errors.Join(err, closeFirst()); err != nil {
		fmt.Fprint(w, err)
		return
	}
	for _, conn := range kept {
		if err := finish(conn); err != nil {
			fmt.Fprintf(w, "a connection that was kept: %v\n", err)
		}
	}
	kept = nil
	conns, failed := make([]net.Conn, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			conns[i], failed[i] = dialFrom(firstPort + i)
			if failed[i] == nil && r.URL.Query().Get("keep") == "" {
				failed[i] = finish(conns[i])
			}
		})
	}
	wg.Wait()
	if r.URL.Query().Get("keep") != "" {
		kept = slices.DeleteFunc(conns, func(c net.Conn) bool { return c == nil })
	}
	failed = slices.DeleteFunc(failed, func(err error) bool { return err == nil })
	if len(failed) > 0 {
		fmt.Fprintf(w, "%d of %d failed, the first: %v", len(failed), n, failed[0])
	}
}
