package tunnel

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// A client of HTTP/1 sends with its request, and ends its side before it gets the answer.
func TestHTTP1(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		all, err := io.ReadAll(c)
		if err == nil {
			_, err = c.Write(append([]byte("echo "), all...))
		}
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		if err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "CONNECT i0:22 HTTP/1.0\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "echo hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// connect2 opens a tunnel over HTTP/2 to a handler.
func connect2(t *testing.T, handler func(c Client)) (*io.PipeWriter, *http.Response) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		handler(c)
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	transport := &http.Transport{Protocols: srv.Config.Protocols}
	t.Cleanup(transport.CloseIdleConnections)
	in, out := io.Pipe()
	t.Cleanup(func() { out.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, srv.URL, in)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return out, resp
}

func TestHTTP2(t *testing.T) {
	out, resp := connect2(t, func(c Client) {
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := c.Write(b); err != nil {
			t.Error(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(b)
			read <- err
		}()
		c.Close()
		if err := <-read; !errors.Is(err, io.EOF) {
			t.Errorf("a read of a closed client: %v", err)
		}
	})
	if _, err := io.WriteString(out, "hello"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// A client that does not read is broken off all the same.
func TestAWriteThatWaitsIsReset(t *testing.T) {
	waits := make(chan struct{})
	_, resp := connect2(t, func(c Client) {
		written := make(chan error, 1)
		go func() {
			for sent := 0; ; sent++ {
				if sent == 8<<20>>10 { // More than any window.
					close(waits)
				}
				if _, err := c.Write(make([]byte, 1<<10)); err != nil {
					written <- err
					return
				}
			}
		}()
		<-waits
		c.Reset()
		if err := <-written; err == nil || errors.Is(err, os.ErrInvalid) {
			t.Error(err)
		}
		c.Close()
	})
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("it looks complete")
	}
}

func TestAWriterThatIsNotOfAServer(t *testing.T) {
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodConnect, "http://i0:22", nil)
	if _, err := Accept(w, r, nil); err == nil || w.Body.Len() > 0 {
		t.Errorf("%v, %s", err, w.Body)
	}
}
