package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"testing"
)

func TestRequestsAndAnswersAreNotChanged(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	const request = "GET /x HTTP/1.1\r\nHost: a.example\r\nCookie: a=b; c=d\r\nForwarded: for=1.2.3.4\r\n" +
		"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\r\n"
	guest := w.send(request)
	host := server.accept()
	wantRead(t, host, request)
	_, _ = io.WriteString(host, "HTTP/1.1 100 Continue\r\n\r\n") // It was not asked for.
	const answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 299 Mine\r\nContent-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n<!"
	_, _ = io.WriteString(host, answer)
	wantRead(t, guest, strings.Replace(answer, "Mine", "status code 299", 1)) // The only text that is not passed on.
	// The next one is over the same connection to the host.
	_, _ = io.WriteString(guest, request)
	wantRead(t, host, request)
	w.wantDials("a.example:80")
}

// client is a client of HTTP in a guest.
func (w *world) client() *http.Client {
	transport := &http.Transport{ExpectContinueTimeout: bound, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.addr)
	}}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: bound}
}

func TestBodiesAndTrailers(t *testing.T) {
	w := newWorld(t, 80)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" || r.Header.Get("User-Agent") == "" {
			t.Errorf("header: %v", r.Header)
		}
		w.Header().Set("Trailer", "X-Announced")
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %v %s %d", len(body), err, r.Trailer.Get("X-Sent"), r.ContentLength)
		w.Header().Set("X-Announced", "yes")
		w.Header().Set(http.TrailerPrefix+"X-Late", "too")
	}))
	defer srv.Close()
	w.host("a.example", srv.Listener.Addr().String())
	for name, c := range map[string]struct {
		length int64
		want   string
	}{"with a length": {3_000_000, "3000000 <nil>  3000000"}, "in chunks": {-1, "3000000 <nil> trailer -1"}} {
		body := io.MultiReader(strings.NewReader(strings.Repeat("x", 3_000_000)))
		r, _ := http.NewRequest("POST", "http://a.example/", body)
		if r.ContentLength = c.length; c.length < 0 {
			r.Trailer = http.Header{"X-Sent": {"trailer"}}
		}
		resp, err := w.client().Do(r)
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(resp.Body)
		if string(got) != c.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if resp.Trailer.Get("X-Announced") != "yes" || resp.Trailer.Get("X-Late") != "too" {
			t.Errorf("%s: trailers %v", name, resp.Trailer)
		}
	}
}

// A client that asks before it sends a body gets the host's word.
func TestABodyThatTheHostDoesNotWantIsNotSent(t *testing.T) {
	w := newWorld(t, 80)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	w.host("a.example", srv.Listener.Addr().String())
	for path, want := range map[string]struct {
		status, continues int
		body              string
	}{"/no": {403, 0, ""}, "/yes": {200, 1, "body"}} {
		continues := 0
		trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { continues++; return nil }}
		read := &countedReader{Reader: strings.NewReader("body")}
		r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "PUT", "http://a.example"+path, read)
		r.ContentLength = 4
		r.Header.Set("Expect", "100-continue")
		resp, err := w.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want.status || string(got) != want.body || continues != want.continues || read.n != len(want.body) {
			t.Errorf("%s: %d %q, %d times continue, %d bytes sent", path, resp.StatusCode, got, continues, read.n)
		}
	}
}

type countedReader struct {
	io.Reader
	n int
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

func TestAnAnswerMayBeginBeforeTheRequestEnds(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	guest := w.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
	host := server.accept()
	wantRead(t, host, "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
	_, _ = io.WriteString(host, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nONE\r\n")
	wantRead(t, guest, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nONE\r\n")
	_, _ = io.WriteString(guest, "3\r\ntwo\r\n")
	wantRead(t, host, "3\r\ntwo\r\n")
	_, _ = io.WriteString(host, "3\r\nTWO\r\n")
	wantRead(t, guest, "3\r\nTWO\r\n")
	_, _ = io.WriteString(guest, "0\r\n\r\n")
	wantRead(t, host, "0\r\n\r\n")
	_, _ = io.WriteString(host, "0\r\n\r\n")
	wantRead(t, guest, "0\r\n\r\n")
}

const (
	upgrade  = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

func TestAWebSocketIsPassedOn(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	open := func() (guest, host *net.TCPConn) {
		guest = w.send(upgrade + "early")
		host = server.accept()
		wantRead(t, host, upgrade)
		_, _ = io.WriteString(host, switched+"soon")
		wantRead(t, guest, switched+"soon")
		wantRead(t, host, "early")
		return guest, host
	}
	guest, host := open()
	big := strings.Repeat("0123456789", 100_000)
	for _, c := range [][2]*net.TCPConn{{guest, host}, {host, guest}} {
		go func() { _, _ = io.WriteString(c[0], big) }()
		wantRead(t, c[1], big)
	}
	// What looks like a request of another host is a part of the stream, and stays there.
	const other = "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"
	_, _ = io.WriteString(guest, other)
	wantRead(t, host, other)
	guest.CloseWrite()
	wantEnd(t, host)
	_, _ = io.WriteString(host, "late")
	host.CloseWrite()
	wantRead(t, guest, "late")
	wantEnd(t, guest)

	guest, host = open()
	_ = host.SetLinger(0)
	host.Close()
	wantReset(t, guest)
	guest, host = open()
	_ = guest.SetLinger(0)
	guest.Close()
	wantGone(t, host)
	w.wantRefused()
}

func TestOnlyWebSocketsAreUpgrades(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.0"} {
		guest := w.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol +
			"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		host := server.accept()
		wantRead(t, host, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
		// A host that switches all the same has nothing to switch for.
		_, _ = io.WriteString(host, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		if got := wantReset(t, guest); got != "" {
			t.Errorf("%s: %q", protocol, got)
		}
		if got := wantGone(t, host); got != "" {
			t.Errorf("%s: the host also reads %q", protocol, got)
		}
	}
}

// No answer of a host that breaks off looks whole.
func TestHostsThatMisbehave(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	const request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
	for name, c := range map[string]struct {
		answer, want string
		reset        bool
	}{
		"resets":                {"", "", true},
		"closes":                {"", "", false},
		"garbage":               {"SSH-2.0-OpenSSH_9.9\r\n\r\n", "", false},
		"half a header":         {"HTTP/1.1 200 OK\r\nX", "", false},
		"a large header":        {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*largest) + "\r\n\r\n", "", false},
		"half a body":           {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf", false},
		"half of the chunks":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false},
		"a body without an end": {"HTTP/1.1 200 OK\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", true},
	} {
		guest := w.send(request)
		host := server.accept()
		wantRead(t, host, request)
		_, _ = io.WriteString(host, c.answer)
		wantRead(t, guest, c.want)
		if c.reset {
			_ = host.SetLinger(0)
		}
		host.Close()
		if got := wantReset(t, guest); got != "" {
			t.Errorf("%s: the guest reads %q", name, got)
		}
	}
	// One that closes half has answered, and gets the rest.
	guest := w.send(request)
	host := server.accept()
	wantRead(t, host, request)
	_, _ = io.WriteString(host, "HTTP/1.1 200 OK\r\n\r\nwhole")
	host.CloseWrite()
	wantAnswer(t, bufio.NewReader(guest), "whole")
	w.wantRefused()
}

func TestAHostThatNeverAnswersIsLeftWithTheGuest(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	guest := w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	host := server.accept()
	wantRead(t, host, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	guest.Close()
	wantEnd(t, host)
	// The way to a host ends with the guest's connection also when it is idle.
	guest = w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	host = server.accept()
	wantRead(t, host, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	_, _ = io.WriteString(host, "HTTP/1.1 204 No Content\r\n\r\n")
	wantAnswer(t, bufio.NewReader(guest), "")
	guest.Close()
	wantEnd(t, host)
}

// A guest that closes the sending half before the answer looks like one that has left, whose request must end at the host.
func TestAGuestWithoutASendingHalfHasLeft(t *testing.T) {
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	guest := w.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	host := server.accept()
	if _, err := http.ReadRequest(bufio.NewReader(host)); err != nil {
		t.Fatal(err)
	}
	guest.CloseWrite()
	if got := wantReset(t, guest); got != "" {
		t.Errorf("the guest got %q", got)
	}
	if n, err := host.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the host: %d bytes, %v", n, err)
	}
	w.wantRefused()
}
