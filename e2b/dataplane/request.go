package dataplane

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// requestBody is the body of an HTTP/1 request on its way into a sandbox. It
// reports when its end was reached.
//
// A program in a sandbox may answer before it has seen the end of the request,
// as the agent does to a streaming call. The HTTP/1 server reads the rest of a
// request itself as soon as an answer begins, and so takes it away from the proxy,
// which then aborts the stream to the program. (Its full-duplex mode
// does not, but it reads the next request while the proxy still reads this one,
// and panics.) The end of a request is usually on its way already; so an answer
// waits for it, a little.
type requestBody struct {
	io.ReadCloser
	client *http.ResponseController
	once   sync.Once
	ended  chan struct{}
	err    error // what ended the reading; the reader's own
}

// mayBeTaken is the most that net/http takes away of a request whose length is
// known; of a longer one it takes nothing, and closes the connection afterwards.
const mayBeTaken = 256 << 10

// endTime is how long an answer waits for the end of its request. A client that sends
// an endless request and wants an answer meanwhile needs HTTP/2.
const endTime = 5 * time.Second

func newRequestBody(body io.ReadCloser, client *http.ResponseController) *requestBody {
	return &requestBody{ReadCloser: body, client: client, ended: make(chan struct{})}
}

func (b *requestBody) end() { b.once.Do(func() { close(b.ended) }) }

// Read is for one reader. After the end it returns the end again: the
// transport asks twice where the length is known, and between the two the server
// may have closed the body.
func (b *requestBody) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	n, b.err = b.ReadCloser.Read(p)
	if b.err != nil {
		b.end()
	}
	return n, b.err
}

func (b *requestBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// awaitEnd returns when the body was read to its end. If that takes longer than
// endTime it is given up, so that the answer gets out. A nil body has ended.
func (b *requestBody) awaitEnd(ctx context.Context) {
	if b == nil {
		return
	}
	select {
	case <-b.ended:
		return
	default:
	}
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case <-b.ended:
	case <-timer.C:
		// An error means that the connection is gone.
		_ = b.client.SetReadDeadline(time.Now())
	case <-ctx.Done():
	}
}
