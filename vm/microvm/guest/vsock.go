//go:build linux

package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// hasWord reports whether a word is in the kernel's command line.
func hasWord(commandLine, word string) bool {
	return slices.Contains(strings.Fields(commandLine), word)
}

// listenVsock makes the socket to which the host connects. It is there as soon as its module has found the device.
func listenVsock() (fd int, err error) {
	for deadline := time.Now().Add(deviceTime); ; <-time.After(devicePause) {
		fd, err = unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return -1, fmt.Errorf("vsock: %w", err)
		}
	}
	if err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: link.VsockPort}); err == nil {
		err = unix.Listen(fd, 8)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("vsock: %w", err)
	}
	return fd, nil
}

// serveAll serves the host's connections to a listening socket, one at a time: a new one ends that before it, of which a snapshot may have left this
// side alone. It returns only if the socket fails.
func (g *guest) serveAll(listener int) error {
	before, served := -1, make(chan struct{})
	for {
		fd, err := accept(listener)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if before >= 0 {
			_ = unix.Shutdown(before, unix.SHUT_RDWR)
			<-served
		}
		g.mu.Lock()
		g.out = descriptor(fd)
		g.mu.Unlock()
		if before >= 0 {
			_ = unix.Close(before)
		}
		before, served = fd, make(chan struct{})
		go func(done chan struct{}) {
			defer close(done)
			_ = g.serve(&socketReader{fd})
			// The host sees the end, and connects again.
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		}(served)
	}
}

// accept accepts a connection of the host. A program of the guest may connect, too, if its kernel has the module for that.
func accept(listener int) (fd int, err error) {
	for {
		var from unix.Sockaddr
		fd, from, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err == nil && !ofHost(from) {
			_ = unix.Close(fd)
			continue
		}
		// A guest that is short of memory, or that its programs keep short of files, is not at its end: the connection is accepted later.
		if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EMFILE) {
			<-time.After(devicePause)
			continue
		}
		// A connection that ended before it was accepted is not a failure of the socket.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECONNABORTED) && !errors.Is(err, unix.ECONNRESET) {
			return fd, err
		}
	}
}

// ofHost reports whether a vsock address is the host's. A socket of another kind has no other peers.
func ofHost(from unix.Sockaddr) bool {
	peer, is := from.(*unix.SockaddrVM)
	return !is || peer.CID == unix.VMADDR_CID_HOST
}

// socketReader reads a socket that does not block: what is written to it must not wait for a host that does not read.
type socketReader struct{ fd int }

func (s *socketReader) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, b)
		switch {
		case n > 0:
			return n, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, int(time.Second.Milliseconds()))
		case err != nil:
			return 0, err
		default:
			return 0, io.EOF
		}
	}
}

// serialConsole opens the first serial port as it is: what is written goes to the host without a change.
func serialConsole() (*os.File, error) {
	port, err := os.OpenFile("/dev/ttyS0", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err == nil {
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
		err = unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, mode)
	}
	if err != nil {
		port.Close()
		return nil, fmt.Errorf("serial console: %w", err)
	}
	return port, nil
}
