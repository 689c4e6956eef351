package secure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheProgramKnowsByWhichNameItIsCalled(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName) }))
	defer srv.Close()
	for host, want := range map[string]string{"a.example:443": "a.example", "a.example": "a.example", "127.0.0.1:8443": "", "[::1]:8443": "", "": ""} {
		transport := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
			if err != nil {
				return nil, err
			}
			return Over(ctx, raw, host, nil)
		}}
		resp, err := (&http.Client{Transport: transport}).Get("https://ignored/")
		if err != nil {
			t.Errorf("%q: %v", host, err)
			continue
		}
		var got string
		if _, err := fmt.Fscan(resp.Body, &got); got != want {
			t.Errorf("%q: %q, %v", host, got, err)
		}
		resp.Body.Close()
	}
}

// A program that takes a connection and says nothing holds a request up for a bounded time.
func TestAHandshakeIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, program := net.Pipe()
		defer program.Close()
		go func() {
			buf := make([]byte, 1024)
			for {
				if _, err := program.Read(buf); err != nil {
					return
				}
			}
		}()
		begin := time.Now()
		if _, err := Over(t.Context(), raw, "a.example", nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != handshakeTime {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := raw.Write([]byte("x")); err == nil {
			t.Error("the stream is still open")
		}
	})
}

// Close does not wait for a program that does not read.
func TestCloseSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, program := net.Pipe()
		defer program.Close()
		begin := time.Now()
		if err := (conn{raw: raw}).Close(); err != nil || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}
