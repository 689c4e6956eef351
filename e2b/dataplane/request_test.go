package dataplane

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// serverBody gives its end together with its last bytes, and an error once it
// was closed, as the server's does.
type serverBody struct {
	io.Reader
	closed bool
}

var errClosed = errors.New("read on closed body")

func (b *serverBody) Read(p []byte) (int, error) {
	if b.closed {
		return 0, errClosed
	}
	n, _ := b.Reader.Read(p)
	return n, io.EOF
}

func (b *serverBody) Close() error {
	b.closed = true
	return nil
}

func TestTheEndOfARequestStaysItsEnd(t *testing.T) {
	inner := &serverBody{Reader: strings.NewReader("hello")}
	b := newRequestBody(inner, nil)
	p := make([]byte, 16)
	if n, err := b.Read(p); n != 5 || !errors.Is(err, io.EOF) {
		t.Fatalf("first read: %d, %v", n, err)
	}
	b.awaitEnd(context.Background()) // returns at once, or the test hangs
	inner.Close()                    // the server, when the answer begins
	if n, err := b.Read(p); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("second read: %d, %v; want the end again", n, err)
	}
}

func TestAnAnswerWaitsForTheEndOfItsRequest(t *testing.T) {
	for name, finish := range map[string]func(*requestBody, *io.PipeWriter){
		"read to its end": func(b *requestBody, w *io.PipeWriter) { w.Close(); io.Copy(io.Discard, b) },
		"given up":        func(b *requestBody, _ *io.PipeWriter) { b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				b := newRequestBody(r, http.NewResponseController(httptest.NewRecorder()))
				start := time.Now()
				go func() {
					time.Sleep(time.Second)
					finish(b, w)
				}()
				b.awaitEnd(t.Context())
				if waited := time.Since(start); waited != time.Second {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
	t.Run("not for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, _ := io.Pipe()
			b := newRequestBody(r, http.NewResponseController(httptest.NewRecorder()))
			start := time.Now()
			b.awaitEnd(t.Context())
			if waited := time.Since(start); waited != endTime {
				t.Errorf("waited %v", waited)
			}
		})
	})
	t.Run("not without a body", func(t *testing.T) {
		var none *requestBody
		none.awaitEnd(t.Context())
	})
}
