package e2b

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// Half a header is counted while it is read, and until it is whole or given up.
func TestRequestHeadersBeingReadAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{}, &fakeruntime.Runtime{}, &MemoryKeys{})
		s.conns.Reading = quota.NewBudget(100<<10, 50<<10)
		ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, ln) }()
		dial := func() net.Conn {
			ours, theirs := net.Pipe()
			ln.conns <- theirs
			return ours
		}
		const begin = "GET /health HTTP/1.1\r\nHost: x\r\n"
		large := begin + "X: " + strings.Repeat("a", 40<<10) + "\r\n"
		half := dial()
		if _, err := io.WriteString(half, large); err != nil {
			t.Fatal(err)
		}
		second := dial()
		if _, err := io.WriteString(second, large); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("another large one: %v", err)
		}
		fields := dial()
		if _, err := io.WriteString(fields, begin+strings.Repeat("a:\r\n", 4000)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("many short fields: %v", err)
		}
		get := func(c net.Conn, request string) {
			t.Helper()
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			_, _ = io.ReadAll(resp.Body)
		}
		ordinary := dial()
		for range 100 {
			get(ordinary, begin+strings.Repeat("A: b\r\n", 20)+"\r\n")
		}
		get(half, "\r\n") // It is whole.
		synctest.Wait()
		if s.conns.Reading.Used() != 0 {
			t.Errorf("%d bytes are held behind a whole header", s.conns.Reading.Used())
		}
		posting := dial()
		if _, err := io.WriteString(posting, "POST"+strings.TrimPrefix(large, "GET")+"Content-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.conns.Reading.Used() != 0 {
			t.Errorf("%d bytes are held while a body is sent", s.conns.Reading.Used())
		}
		get(ordinary, large+"\r\n")
		if _, err := io.WriteString(ordinary, large); err != nil { // The next, on the same connection.
			t.Fatal(err)
		}
		synctest.Wait()
		if s.conns.Reading.Used() == 0 {
			t.Error("the next header of a connection is not counted")
		}
		for _, c := range []net.Conn{half, posting, ordinary} {
			c.Close()
		}
		synctest.Wait()
		if s.conns.Reading.Used() != 0 {
			t.Errorf("%d bytes are held in the end", s.conns.Reading.Used())
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
