package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryRequestOfAConnectionIsChecked(t *testing.T) {
	for name, pipelined := range map[string]bool{"one after the other": false, "pipelined": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 80)
			a, b, c := newNamed(t, "A"), newNamed(t, "B"), newNamed(t, "C")
			w.host("a.example", a.addr)
			w.host("b.example", b.addr)
			w.host("c.example", c.addr)
			w.forbid("c.example")
			guest := w.guest()
			r := bufio.NewReader(guest)
			requests := []string{
				"GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /2 HTTP/1.1\r\nHost: A.Example:80\r\n\r\n",
				"GET /3 HTTP/1.1\r\nHost: b.example.\r\n\r\n", "GET /4 HTTP/1.1\r\nHost: c.example\r\n\r\n",
			}
			if pipelined {
				_, _ = io.WriteString(guest, strings.Join(requests, ""))
			}
			for i, answer := range []string{"A", "A", "B"} {
				if !pipelined {
					_, _ = io.WriteString(guest, requests[i])
				}
				wantAnswer(t, r, answer)
			}
			if !pipelined {
				_, _ = io.WriteString(guest, requests[3])
			}
			if got, err := io.ReadAll(r); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the host that is not allowed: %q, %v", got, err)
			}
			a.want(t, "GET /1 a.example", "GET /2 A.Example:80")
			b.want(t, "GET /3 b.example.")
			c.want(t)
			w.wantDials("a.example:80", "b.example:80")
			w.wantRefused("c.example")
		})
	}
}

func TestWhichRequestsAreRefused(t *testing.T) {
	w := newWorld(t, 80)
	server := newNamed(t, "A")
	w.host("a.example", server.addr)
	for name, c := range map[string]struct{ request, refused string }{
		"another host":             {"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "b.example"},
		"below it":                 {"GET / HTTP/1.1\r\nHost: x.a.example\r\n\r\n", "x.a.example"},
		"another port":             {"GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "a.example"},
		"a port by another name":   {"GET / HTTP/1.1\r\nHost: a.example:080\r\n\r\n", "a.example"},
		"an empty port":            {"GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", "a.example"},
		"an address":               {"GET / HTTP/1.1\r\nHost: 203.0.113.9\r\n\r\n", ""},
		"an address of IPv6":       {"GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", ""},
		"an address in hex":        {"GET / HTTP/1.1\r\nHost: 0x7f000001\r\n\r\n", ""},
		"a number":                 {"GET / HTTP/1.1\r\nHost: 2130706433\r\n\r\n", ""},
		"an empty host":            {"GET / HTTP/1.1\r\nHost: \r\n\r\n", ""},
		"no host":                  {"GET / HTTP/1.1\r\n\r\n", ""},
		"no host, HTTP/1.0":        {"GET / HTTP/1.0\r\n\r\n", ""},
		"two hosts":                {"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", ""},
		"twice the same":           {"GET / HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n", ""},
		"a list":                   {"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", ""},
		"a user":                   {"GET / HTTP/1.1\r\nHost: a.example@b.example\r\n\r\n", ""},
		"a tunnel":                 {"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "a.example"},
		"a tunnel with a path":     {"CONNECT / HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
		"HTTP/2":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""},
		"HTTP/2 with a host":       {"PRI * HTTP/2.0\r\nHost: a.example\r\n\r\n", "a.example"},
		"HTTP/0.9":                 {"GET /\r\n\r\n", ""},
		"a whole URL of another":   {"GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "b.example"},
		"a URL with a user":        {"GET http://a.example@b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "b.example"},
		"a URL of an address":      {"GET http://203.0.113.9/ HTTP/1.1\r\nHost: a.example\r\n\r\n", ""},
		"a URL of another port":    {"GET http://a.example:81/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
		"an opaque URL":            {"GET http:b.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "a.example"},
		"garbage":                  {"SSH-2.0-OpenSSH_9.9\r\n", ""},
		"a lone CR":                {"GET / HTTP/1.1\r\nHost: a.example\rX: b\r\n\r\n", ""},
		"a NUL":                    {"GET / HTTP/1.1\r\nHost: a.example\r\nX: \x00\r\n\r\n", ""},
		"a NUL in the host":        {"GET / HTTP/1.1\r\nHost: a.example\x00\r\n\r\n", ""},
		"a name with a space":      {"GET / HTTP/1.1\r\nHost : b.example\r\nHost: a.example\r\n\r\n", ""},
		"a header without a colon": {"GET / HTTP/1.1\r\nHost: a.example\r\nX\r\n\r\n", ""},
		"two lengths":              {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", ""},
		"a length that is none":    {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +1\r\n\r\na", ""},
		"an unknown encoding":      {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", ""},
		"two encodings":            {"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", ""},
		"an unknown expectation":   {"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nExpect: more\r\n\r\na", ""},
		"a large header":           {"GET / HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", largest) + "\r\n\r\n", ""},
	} {
		guest := w.guest()
		// A long one may be cut while it is being sent.
		if _, err := io.WriteString(guest, c.request); !errors.Is(err, syscall.ECONNRESET) {
			if got := wantReset(t, guest); got != "" {
				t.Errorf("%s: the answer is %q", name, got)
			}
		}
		w.wantDials()
		w.mu.Lock()
		if len(w.refused) != 1 || w.refused[0] != c.refused {
			t.Errorf("%s: refused: %q, want %q", name, w.refused, c.refused)
		}
		w.refused = nil
		w.mu.Unlock()
	}
	server.want(t)
	for name, c := range map[string]struct{ request, got string }{
		"HTTP/1.1":           {"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET / a.example"},
		"HTTP/1.0":           {"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n", "GET / a.example"},
		"the port":           {"GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "GET / a.example:80"},
		"a whole URL":        {"GET http://a.example/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n", "GET /x?y a.example"},
		"for all":            {"OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", "OPTIONS * a.example"},
		"two slashes":        {"GET //b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET //b.example/ a.example"},
		"escapes":            {"GET /%2e%2F/..;x?;a=%zz&b HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /%2e%2F/..;x?;a=%zz&b a.example"},
		"an empty query":     {"GET /? HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /? a.example"},
		"any method":         {"M-SEARCH / HTTP/1.1\r\nHost: a.example\r\n\r\n", "M-SEARCH / a.example"},
		"a header below 64K": {"GET / HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", largest-100) + "\r\n\r\n", "GET / a.example"},
	} {
		guest := w.send(c.request)
		wantAnswer(t, bufio.NewReader(guest), "A")
		t.Run(name, func(t *testing.T) { server.want(t, c.got) })
		guest.Close()
	}
	w.wantRefused()
}

// What the host reads is what the gateway has written, so that both see the same requests.
func TestNoRequestIsHiddenInAnother(t *testing.T) {
	const hidden = "GET /hidden HTTP/1.1\r\nHost: b.example\r\n\r\n"
	const end = "\r\nX-End: 1\r\n\r\n"
	w := newWorld(t, 80)
	server := newRawServer(t)
	w.host("a.example", server.addr)
	for name, c := range map[string]struct{ request, want string }{
		"a length and chunks": {
			"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
			"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		},
		"a body that looks like a request": {
			fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden),
			fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n%s", len(hidden), hidden),
		},
		"extensions of chunks": {
			"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"y\"\r\na\r\n0\r\n\r\n" + hidden,
			"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		},
		"a folded header": {
			"GET / HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n Host: b.example" + end,
			"GET / HTTP/1.1\r\nHost: a.example\r\nX: 1 Host: b.example" + end,
		},
		"a body of GET": {
			"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\na" + hidden,
			"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\na",
		},
		"the host as a hop": {
			"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: host, content-length, x-hop\r\nX-Hop: 1\r\nX-End: 1\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a.example" + end,
		},
		"a length of HTTP/1.0": {
			"POST / HTTP/1.0\r\nHost: a.example\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na" + hidden,
			"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\na",
		},
	} {
		guest := w.send(c.request)
		host := server.accept()
		wantRead(t, host, c.want)
		_, _ = io.WriteString(host, "HTTP/1.1 204 No Content\r\n\r\n")
		if strings.HasSuffix(c.request, hidden) && !strings.HasSuffix(c.want, hidden) {
			r := bufio.NewReader(guest)
			wantAnswer(t, r, "")
			if got, err := io.ReadAll(r); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: after the answer %q, %v", name, got, err)
			}
			w.wantRefused("b.example")
		} else {
			wantAnswer(t, bufio.NewReader(guest), "")
		}
		guest.Close()
		if got := wantGone(t, host); got != "" {
			t.Errorf("%s: the host also reads %q", name, got)
		}
	}
	w.wantRefused()
	// A body whose chunks are wrong does not end, for the host, where the guest may want it.
	for _, chunks := range []string{"x\r\n", "1\r\nab", "-1\r\n", "1 1\r\na\r\n", "10000000000000001\r\na"} {
		guest := w.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + hidden)
		host := server.accept()
		got := wantGone(t, host)
		if !strings.HasPrefix(got, "POST / ") || strings.Contains(got, "hidden") || strings.HasSuffix(got, "0\r\n\r\n") {
			t.Errorf("chunks %q: the host reads %q", chunks, got)
		}
		wantReset(t, guest)
	}
}

func TestIdleTimeOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		near, host := net.Pipe()
		p.dial = near
		guest := p.connect()
		go func() {
			r := bufio.NewReader(host)
			for {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				_, _ = io.WriteString(host, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA")
			}
		}()
		r := bufio.NewReader(guest)
		for range 3 {
			_, _ = io.WriteString(guest, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
			wantAnswer(t, r, "A")
			time.Sleep(idleTime - time.Second)
		}
		_, _ = io.WriteString(guest, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		wantAnswer(t, r, "A")
		begin := time.Now()
		wantEnd(t, r)
		if d := time.Since(begin); d != idleTime {
			t.Errorf("an idle connection ends after %v", d)
		}
		if p.wasBroken() {
			t.Error("an idle connection does not end regularly")
		}
		host.Close()
	})
}

func TestHalfOfALaterRequestIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t)
		near, host := net.Pipe()
		p.dial = near
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(host))
			_, _ = io.WriteString(host, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA")
		}()
		guest := p.connect()
		_, _ = io.WriteString(guest, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		r := bufio.NewReader(guest)
		wantAnswer(t, r, "A")
		begin := time.Now()
		_, _ = io.WriteString(guest, "GET / HTTP/1.1\r\nHost: exam")
		wantEnd(t, r)
		if d := time.Since(begin); d != headTime || !p.wasBroken() {
			t.Errorf("the connection ends after %v, broken off: %v", d, p.wasBroken())
		}
		p.wantRefused()
		host.Close()
	})
}
