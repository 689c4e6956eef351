// Package ingress is what the way to a port of a sandbox is measured with: a server for the
// guest, and clients that reach it through the proxy, by the daemon's own dial function without a proxy, and through a
// reverse proxy of the standard library. It may import client, envd and
// other parts of bench; only bench and cmd may import it.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Port is where the server of a guest listens.
const Port = 8000

// Serve answers at an address until ctx ends. It writes the address when it does.
func Serve(ctx context.Context, address string, told io.Writer) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(told, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	srv := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// zeros are what a download consists of: to make anything else would take time that is not the way's.
var zeros = make([]byte, 256<<10)

const small = "hello\n"

// answer sends as many bytes as the path says, and a few for any other.
func answer(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.URL.Path[1:], 10, 64)
	if err != nil {
		_, _ = io.WriteString(w, small)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	for n > 0 {
		sent, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return // The client went away.
		}
		n -= int64(sent)
	}
}
