package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// buffers lends the buffers of bytes on their way; to a httputil.ReverseProxy, too.
type buffers struct{}

var pool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (buffers) Get() []byte { return *pool.Get().(*[]byte) }

func (buffers) Put(b []byte) { pool.Put(&b) }

// lean is a connection of which some was read already. As the source of io.Copy it has a buffer only while there is
// something to copy. (The kernel could copy, but would have a pipe, two file descriptors, for each direction.)
type lean struct {
	net.Conn
	first []byte // Read first.
}

func (l *lean) Read(b []byte) (int, error) {
	if len(l.first) == 0 {
		return l.Conn.Read(b)
	}
	n := copy(b, l.first)
	if l.first = l.first[n:]; len(l.first) == 0 {
		l.first = nil
	}
	return n, nil
}

// CloseWrite ends the sending side.
func (l *lean) CloseWrite() error { return halfclose.Write(l.Conn, l.Conn.Close) }

// WriteTo copies all that can be read.
func (l *lean) WriteTo(w io.Writer) (sum int64, err error) {
	if len(l.first) > 0 {
		n, err := w.Write(l.first)
		if sum += int64(n); err != nil {
			return sum, err
		}
		l.first = nil
	}
	s, ok := l.Conn.(syscall.Conn)
	if !ok {
		n, err := copySmall(w, l.Conn)
		return sum + n, err
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return sum, err
	}
	for {
		b, n, err := readWhenReady(raw)
		if n > 0 && err == nil {
			n, err = w.Write(b[:n])
			sum += int64(n)
		}
		if b != nil {
			buffers{}.Put(b)
		}
		if n <= 0 || err != nil {
			return sum, err
		}
	}
}

// readWhenReady reads into a buffer that it takes when there is something to read. The end of the stream is 0 bytes.
func readWhenReady(raw syscall.RawConn) (b []byte, n int, err error) {
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		b = buffers{}.Get()
		for {
			if n, failed = syscall.Read(int(fd), b); !errors.Is(failed, syscall.EINTR) {
				break
			}
		}
		if errors.Is(failed, syscall.EAGAIN) {
			buffers{}.Put(b)
			b = nil
			return false
		}
		return true
	})
	if err == nil {
		err = os.NewSyscallError("read", failed)
	}
	return b, n, err
}

// copySmall is io.Copy with a small buffer, for what may be idle.
func copySmall(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, usual))
}
