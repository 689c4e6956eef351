//go:build linux

package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/internal/halfclose"
)

// dialTimeout bounds a connect on the loopback, which answers at once unless
// the listener's backlog is full.
const dialTimeout = 10 * time.Second

// dial connects the host to a port that is open on the guest's loopback only.
func (s *Server) dial(w http.ResponseWriter, r *http.Request) {
	port, err := strconv.ParseUint(r.URL.Query().Get("port"), 10, 16)
	if err != nil || port == 0 {
		reply.Error(w, http.StatusBadRequest, "port is not valid")
		return
	}
	if r.Header.Get("Upgrade") != envd.DialUpgrade {
		reply.Error(w, http.StatusUpgradeRequired, "upgrade to "+envd.DialUpgrade+" is missing")
		return
	}
	target, err := dialLoopback(r.Context(), int(port))
	if err != nil {
		status := http.StatusGatewayTimeout
		if errors.Is(err, syscall.ECONNREFUSED) {
			status = http.StatusBadGateway
		}
		reply.Error(w, status, err.Error())
		return
	}
	defer target.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		reply.Error(w, http.StatusHTTPVersionNotSupported, "upgrade needs HTTP/1.1")
		return
	}
	defer s.connections.forget(client)
	defer client.Close()
	_ = client.SetDeadline(time.Time{})
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+envd.DialUpgrade+"\r\n\r\n"); err != nil {
		return
	}
	splice(client, buffered.Reader, target)
}

func dialLoopback(ctx context.Context, port int) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	p := strconv.Itoa(port)
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", p))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := d.DialContext(ctx, "tcp", net.JoinHostPort("::1", p)); err6 == nil {
		return conn, nil
	}
	return nil, err
}

// splice copies both ways until both directions have ended; it passes on the
// end of one direction. A broken direction ends the other, and has no regular end.
func splice(client net.Conn, fromClient *bufio.Reader, target net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { forward(target, client, fromClient) })
	both.Go(func() { forward(client, target, target) })
	both.Wait()
}

func forward(dst, src net.Conn, r io.Reader) {
	if _, err := io.Copy(dst, r); err != nil {
		halfclose.Break(dst)
		dst.Close()
		src.Close()
		return
	}
	_ = halfclose.Write(dst, dst.Close)
}
