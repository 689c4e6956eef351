package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
)

// Dial opens a connection to the server in the guest.
type Dial func(ctx context.Context) (net.Conn, error)

// Way is one of the ways to the server. It keeps connections, and is safe for concurrent use; the caller closes it.
type Way struct {
	http   http.Client
	url    string
	header http.Header
	close  func() error
}

// conns is how many connections a Way, and the plain proxy, keep.
const conns = 64

func transport() *http.Transport {
	return &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: conns}
}

// Through is the way of a client: through the server of the API, with the sandbox in headers.
func Through(api client.API, sandbox string) *Way {
	t := transport()
	w := &Way{http: http.Client{Transport: t}, url: api.URL, header: http.Header{}}
	w.header.Set(envd.SandboxIDHeader, sandbox)
	w.header.Set(envd.SandboxPortHeader, strconv.Itoa(Port))
	w.close = func() error { t.CloseIdleConnections(); return nil }
	return w
}

// Direct has no proxy: the client is at the end of the connection that dial opens.
func Direct(dial Dial) *Way {
	t := transport()
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	return &Way{http: http.Client{Transport: t}, url: "http://guest", close: func() error { t.CloseIdleConnections(); return nil }}
}

// Behind is the way through the reverse proxy of the standard library, which keeps its connections to the guest.
func Behind(ctx context.Context, dial Dial) (*Way, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	inner, outer := transport(), transport()
	inner.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "guest"})
	proxy.Transport = inner
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	return &Way{http: http.Client{Transport: outer}, url: "http://" + ln.Addr().String(), close: func() error {
		outer.CloseIdleConnections()
		err := srv.Close()
		if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		inner.CloseIdleConnections()
		return err
	}}, nil
}

// Close ends what the way has.
func (w *Way) Close() error { return w.close() }

// Download reads so many bytes, and returns how long that took.
func (w *Way) Download(ctx context.Context, bytes int64) (time.Duration, error) {
	begin := time.Now()
	resp, err := w.get(ctx, "/"+strconv.FormatInt(bytes, 10))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{resp.Body}, make([]byte, len(zeros)))
	if err == nil && n != bytes {
		err = fmt.Errorf("%d bytes came of %d", n, bytes)
	}
	return time.Since(begin), err
}

// Ask sends a request with a small answer, and returns how long that took.
func (w *Way) Ask(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	resp, err := w.get(ctx, "/small")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && string(text) != small {
		err = fmt.Errorf("the answer is %.100q", text)
	}
	return time.Since(begin), err
}

// Load sends n small requests, so many at a time, and returns how long all took.
func (w *Way) Load(ctx context.Context, n, atOnce int) (time.Duration, error) {
	var failed error
	var mu sync.Mutex
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	begin := time.Now()
	for range atOnce {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := w.Ask(ctx); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed = errors.Join(failed, err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(begin), failed
}

func (w *Way) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header = w.header.Clone()
	resp, err := w.http.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // The status says enough without it.
		err = errors.Join(fmt.Errorf("%s: %.200q", resp.Status, text), resp.Body.Close())
		return nil, err
	}
	return resp, err
}
