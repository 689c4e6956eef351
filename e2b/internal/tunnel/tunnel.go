// Package tunnel has the client's end of a CONNECT, over HTTP/1 and HTTP/2. It imports internal/halfclose and the
// standard library only; only packages in and below e2b import it.
package tunnel

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
)

// Client is a client whose CONNECT was answered. One goroutine may read and another one write.
type Client interface {
	io.ReadWriteCloser
	// Reset breaks the tunnel off, so that it does not look complete. Close follows it.
	Reset()
}

// Accept answers a CONNECT: from now on there is data in both directions. reset breaks off a connection of HTTP/1. An
// error means that the request can still be refused.
func Accept(w http.ResponseWriter, r *http.Request, reset func()) (Client, error) {
	control := http.NewResponseController(w)
	if r.ProtoMajor > 1 {
		s := &stream{w: w, control: control, body: r.Body}
		_, _ = s.Write(nil) // If it fails, the first read does.
		return s, nil
	}
	conn, rw, err := control.Hijack()
	if err != nil {
		return nil, err
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	return &caller{conn, rw, reset}, nil
}

// caller is a client of HTTP/1, which may have sent data already.
type caller struct {
	net.Conn
	sent  io.Reader
	reset func()
}

func (c *caller) Read(b []byte) (int, error) { return c.sent.Read(b) }

// CloseWrite ends the sending side.
func (c *caller) CloseWrite() error { return halfclose.Write(c.Conn, c.Conn.Close) }

func (c *caller) Reset() { c.reset() }

// stream is a client of HTTP/2. An answer ends when its handler returns, so the end of what is sent to the
// client is that of both directions.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	body    io.Reader
	ended   atomic.Bool
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.body.Read(b)
	if err != nil && s.ended.Load() {
		err = io.EOF
	}
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err == nil {
		err = s.control.Flush()
	}
	return n, err
}

// Close ends reading; the handler ends the rest.
func (s *stream) Close() error {
	s.ended.Store(true)
	return s.control.SetReadDeadline(time.Now())
}

// Reset also ends a Write that waits for the client.
func (s *stream) Reset() { _ = s.control.SetWriteDeadline(time.Now()) }
