package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/internal/halfclose"
	"github.com/rundlet/rundlet/network/hostname"
)

// hostOf returns the host that a request is for, and whether the request may be sent to it over the port. Of a request
// with a whole URL net/http has taken the host of that, as RFC 9112, 3.2.2 demands, and only that is sent on.
func hostOf(r *http.Request, port uint16) (host string, right bool) {
	name, number, given := strings.Cut(r.Host, ":")
	right = r.Method != http.MethodConnect && r.URL.Opaque == "" &&
		(!given || number == strconv.Itoa(int(port)))
	host, _ = hostname.Canonical(name)
	return host, right
}

var noLog = log.New(io.Discard, "", 0)

// proxy sends a request to a server, with headers in place of those that the guest gave, and its answer to the guest. Of
// the server's URL the scheme and the host count. It panics if one of them breaks off.
func (s *served) proxy(w http.ResponseWriter, r *http.Request, to *url.URL, headers map[string]string) {
	// The answer may begin before the whole request is here.
	_ = http.NewResponseController(w).EnableFullDuplex()
	var stream io.Closer // To the host after an upgrade. A httputil.ReverseProxy closes only one that it wanted.
	defer func() {
		if stream != nil {
			_ = stream.Close()
		}
	}()
	(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{
				Scheme: to.Scheme, Host: net.JoinHostPort(to.Host, strconv.Itoa(int(s.to.Port()))),
				Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery,
			}
			p.Out.Trailer = r.Trailer // Filled in when the body has been read.
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values := r.Header[name]; values != nil {
					p.Out.Header[name] = values
				}
			}
			set(p.Out.Header, headers)
		},
		Transport:     &s.transport,
		FlushInterval: -1,
		BufferPool:    buffers{},
		ErrorLog:      noLog, // That hosts break off is everyday.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if to.Scheme == "http" || s.ctx.Err() != nil { // A connection that is cut gets no answer.
				panic(http.ErrAbortHandler)
			}
			http.Error(w, fmt.Sprintf("The request could not be passed on to %s: %v", to.Host, err), http.StatusBadGateway)
		},
		ModifyResponse: func(resp *http.Response) error {
			if to.Scheme == "https" {
				resp.Header.Del("Alt-Svc") // Over QUIC it would get no headers.
			}
			for _, name := range []string{"Content-Type", "Date"} {
				if resp.Header[name] == nil {
					w.Header()[name] = nil // net/http must not add it.
				}
			}
			if body, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
				stream, resp.Body = body, upgraded{body, s}
			}
			return nil
		},
	}).ServeHTTP(writer{w, s, r.ProtoAtLeast(1, 1)}, r)
}

// set puts headers in place of those that a server may take for the same: some read "X_Key" as "X-Key".
func set(in http.Header, headers map[string]string) {
	alike := func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }
	taken := map[string]bool{}
	for name := range headers {
		taken[alike(name)] = true
	}
	maps.DeleteFunc(in, func(name string, _ []string) bool { return taken[alike(name)] })
	for name, value := range headers {
		in[name] = []string{value}
	}
}

// writer is the answer to a guest. Unwrap is for http.ResponseController.
type writer struct {
	http.ResponseWriter
	s       *served
	interim bool // The guest knows answers before the answer (1xx).
}

func (w writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader leaves 100 (Continue) to net/http, which sends it once, when the body is read.
func (w writer) WriteHeader(status int) {
	if status != http.StatusContinue && (status >= http.StatusOK || w.interim) {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Hijack returns the connection with all that was read of it: httputil.ReverseProxy does not look into the buffer.
func (w writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Peek(rw.Reader.Buffered())
	if h, ok := c.(*httpConn); ok {
		h.first = append(bytes.Clone(early), h.first...)
		return c, rw, nil
	}
	return &lean{Conn: c, first: bytes.Clone(early)}, rw, nil
}

// upgraded is a connection to a host after an upgrade. That it breaks off is passed on.
type upgraded struct {
	io.ReadWriteCloser
	s *served
}

func (u upgraded) Read(b []byte) (int, error) {
	n, err := u.ReadWriteCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		halfclose.Break(u.s.raw)
	}
	return n, err
}

func (u upgraded) WriteTo(w io.Writer) (int64, error) { return copySmall(w, struct{ io.Reader }{u}) }

func (u upgraded) CloseWrite() error { return halfclose.Write(u.ReadWriteCloser, u.Close) }
