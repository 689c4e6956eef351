package exchange

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// accepted is a listener that accepts what is put into it.
type accepted chan net.Conn

func (a accepted) Accept() (net.Conn, error) {
	if c, ok := <-a; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (a accepted) Close() error { close(a); return nil }
func (accepted) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// A create may take longer than its body may.
func TestBodyTimeIsForTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		ln := make(accepted, 1)
		ln <- theirs
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			BoundBody(w, r)
			var v struct{}
			if err := new(Bodies).Decode(w, r, &v, false); err != nil {
				t.Error(err)
			}
			select {
			case <-r.Context().Done():
				t.Error("the request was cancelled by the timeout of its body")
			case <-time.After(10 * BodyTime):
			}
			w.WriteHeader(http.StatusCreated)
		})}
		go srv.Serve(ln)
		_, _ = io.WriteString(ours, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
		resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Errorf("%v, %v", resp, err)
		}
		ours.Close()
		srv.Close()
	})
}
