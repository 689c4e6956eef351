package gvisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	// It is below those that the guest's stack picks by itself.
	firstPort = 11000
	// patience is how long a client waits for a connection to itself.
	patience = 4 * time.Second
)

// closeFirst serves connections that the server ends first, so that the side
// that waits in TIME-WAIT is the one that a new connection must get through.
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
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
	}()
	return nil
})

// dialFrom makes one short connection to closingServer from a local port.
func dialFrom(port int) error {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port},
		Control: func(_, _ string, conn syscall.RawConn) error {
			var err error
			return errors.Join(conn.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			}), err)
		}}
	conn, err := dialer.Dial("tcp4", closingServer)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = io.ReadAll(conn)
	return err
}

// short makes n connections at once, each from its own port and always the
// same one, and reports how many failed and why the first of them did.
func short(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err := errors.Join(err, closeFirst()); err != nil {
		fmt.Fprint(w, err)
		return
	}
	failed := make(chan error, n)
	for i := range n {
		go func() { failed <- dialFrom(firstPort + i) }()
	}
	var first error
	count := 0
	for range n {
		if err := <-failed; err != nil {
			count++
			if first == nil {
				first = err
			}
		}
	}
	if count > 0 {
		fmt.Fprintf(w, "%d of %d failed, the first: %v", count, n, first)
	}
}
