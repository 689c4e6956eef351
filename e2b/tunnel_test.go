package e2b

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/sandbox"
)

// tcp serves the connections to a port of a sandbox.
func (n *node) tcp(id string, port uint16, serve func(c *net.TCPConn)) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.ListenOn(id, port, ln)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
}

// echo answers with all that it got, when that has ended.
func echo(c *net.TCPConn) {
	all, err := io.ReadAll(c)
	if err == nil {
		_, _ = fmt.Fprintf(c, "echo %s", all)
	}
}

// dig opens a tunnel, with data right behind the request.
func (n *node) dig(target, header, data string) (net.Conn, *bufio.Reader, *http.Response) {
	n.t.Helper()
	c, _ := n.raw("")
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: i0:22\r\n%s\r\n%s", target, header, data); err != nil {
		n.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		n.t.Fatal(err)
	}
	return c, r, resp
}

// noMoreConnections waits until clients have none.
func (n *node) noMoreConnections() {
	n.t.Helper()
	n.client.CloseIdleConnections()
	within(n.t, time.Minute, "the end of all connections", func() {
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for n.server.conns.Len() != 0 {
			<-look.C
		}
	})
}

func (n *node) withKey() string { return "X-API-Key: " + n.key + "\r\n" }

func TestTunnel(t *testing.T) {
	n := newNode(t, Config{Domain: "sb.test:8443"})
	id := n.sandbox()
	n.tcp(id, 22, echo)
	basic := func(user, password string) string {
		return "Proxy-Authorization: basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	for name, tt := range map[string]struct {
		target, header string
		code           int
		says           string
	}{
		"host":                 {"22-" + id + ".sb.test:443", n.withKey(), 200, ""},
		"sandbox and port":     {id + ":22", n.withKey(), 200, ""},
		"bearer":               {id + ":22", "Proxy-Authorization: Bearer " + n.key + "\r\n", 200, ""},
		"password":             {id + ":22", basic("any", n.key), 200, ""},
		"no key":               {id + ":22", "", 407, "API key is missing"},
		"wrong key":            {id + ":22", "X-API-Key: e2b_0\r\n", 407, "Invalid API key"},
		"wrong password":       {id + ":22", basic(n.key, "x"), 407, "Invalid API key"},
		"malformed":            {id + ":22", "Proxy-Authorization: Basic ?\r\n", 407, "API key is missing"},
		"another scheme":       {id + ":22", "Proxy-Authorization: Digest " + n.key + "\r\n", 407, "API key is missing"},
		"key for the program":  {id + ":22", "Authorization: Bearer " + n.key + "\r\n", 407, "API key is missing"},
		"a token":              {id + ":22", "e2b-traffic-access-token: traffic\r\nX-Access-Token: token-" + id + "\r\n", 407, "API key is missing"},
		"closed port":          {id + ":23", n.withKey(), 502, "port is not open"},
		"unknown sandbox":      {"unknown:22", n.withKey(), 502, "The sandbox was not found"},
		"agent":                {id + ":49983", n.withKey(), 404, "reserved"},
		"agent, by host":       {"49983-" + id + ".sb.test:443", n.withKey(), 404, "reserved"},
		"another host":         {"example.com:443", n.withKey(), 400, "CONNECT must name"},
		"this machine":         {"127.0.0.1:22", n.withKey(), 400, "CONNECT must name"},
		"another domain":       {"22-" + id + ".other.test:443", n.withKey(), 400, "CONNECT must name"},
		"not a CONNECT target": {"/", n.withKey(), 400, "CONNECT must name"},
	} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			c, r, resp := n.dig(tt.target, tt.header, "first ")
			if resp.StatusCode != tt.code {
				t.Fatalf("%s", resp.Status)
			}
			if ask := resp.Header["Proxy-Authenticate"]; (tt.code == 407) != (len(ask) == 2) {
				t.Errorf("Proxy-Authenticate: %q", ask)
			}
			if tt.code != 200 {
				if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), tt.says) {
					t.Errorf("%s, %v", body, err)
				}
				return
			}
			if _, err := io.WriteString(c, "second"); err != nil {
				t.Fatal(err)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != "echo first second" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A program may say all that it has to say first, and listen on.
func TestTheProgramEndsATunnelsSideFirst(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	got := make(chan string, 1)
	n.tcp(id, 22, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "banner")
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		got <- string(all)
	})
	c, r, _ := n.dig(id+":22", n.withKey(), "")
	if all, err := io.ReadAll(r); err != nil || string(all) != "banner" {
		t.Errorf("%q, %v", all, err)
	}
	if _, err := io.WriteString(c, "after it"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	within(t, time.Minute, "the program's end", func() {
		if all := <-got; all != "after it" {
			t.Errorf("the program got %q", all)
		}
	})
}

func TestATunnelResumesItsSandbox(t *testing.T) {
	n := newNode(t, Config{})
	n.server.callers.peers.rate = quota.NewRate(1, 1, 1) // A key is not charged.
	id := n.private()
	n.tcp(id, 22, echo)
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.AutoResume = true })
	if r := n.do("POST", "/sandboxes/"+id+"/pause", ""); r.code != 204 {
		t.Fatalf("%d %s", r.code, r.body)
	}
	c, r, resp := n.dig(id+":22", n.withKey(), "hello")
	if resp.StatusCode != 200 || n.Transitions.Resumes() != 1 {
		t.Fatalf("%s after %d resumes", resp.Status, n.Transitions.Resumes())
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(r); err != nil || string(got) != "echo hello" {
		t.Errorf("%q, %v", got, err)
	}
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.State, sb.AutoResume = sandbox.StatePaused, false })
	if _, _, resp := n.dig(id+":22", n.withKey(), ""); resp.StatusCode != 502 {
		t.Errorf("paused without auto-resume: %s", resp.Status)
	}
}

// Tunnels count as streams and connections do, and one with a key never makes room.
func TestTunnelsAreBounded(t *testing.T) {
	n := newNode(t, Config{MaxStreams: 8, MaxConnections: 16})
	id := n.sandbox()
	n.tcp(id, 22, echo)
	var open []net.Conn
	for range 2 { // A quarter of the node's.
		c, _, resp := n.dig(id+":22", n.withKey(), "")
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		open = append(open, c)
	}
	if _, _, resp := n.dig(id+":22", n.withKey(), ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s %v", resp.Status, resp.Header)
	}
	for range 40 {
		n.raw(healthRequest)
	}
	_ = open[0].(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(open[0]); err != nil || string(got) != "echo " {
		t.Errorf("strangers ended a tunnel: %q, %v", got, err)
	}
	within(t, time.Minute, "room for another", func() {
		for {
			c, _, resp := n.dig(id+":22", n.withKey(), "")
			c.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
	})
}

// Where all connections are tunnels, none makes room for another client.
func TestATunnelIsNeverClosedForAnother(t *testing.T) {
	const most = 4
	n := newNode(t, Config{MaxConnections: most})
	id := n.sandbox()
	n.tcp(id, 22, echo)
	n.noMoreConnections()
	var open []net.Conn
	for range most {
		c, _, resp := n.dig(id+":22", n.withKey(), "")
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		open = append(open, c)
	}
	late, _ := n.raw("")
	_ = late.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(late); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one too many was not closed")
	}
	for i, c := range open {
		_ = c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "echo " {
			t.Errorf("tunnel %d: %q, %v", i, got, err)
		}
	}
}

func TestWrongKeysOfTunnelsCount(t *testing.T) {
	n := newNode(t, Config{})
	n.server.callers.peers.rate = quota.NewRate(0.001, 2, 16)
	for i, want := range []int{407, 407, 429} {
		if _, _, resp := n.dig("i0:22", "X-API-Key: e2b_0\r\n", ""); resp.StatusCode != want {
			t.Errorf("wrong key %d: %s, want %d", i, resp.Status, want)
		}
	}
	if _, _, resp := n.dig("i0:22", n.withKey(), ""); resp.StatusCode != 502 {
		t.Errorf("a valid key: %s", resp.Status)
	}
}
