package e2b

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// seen answers with what a program sees of a request, and echoes what is sent after an upgrade.
func seen(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, rw)
		return
	}
	name := "none"
	if r.TLS != nil {
		name = r.TLS.ServerName
	}
	if r.URL.Path == "/large" {
		w.Header().Set("X-Large", strings.Repeat("x", 200<<10))
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s host=%s tls=%s body=%d", r.URL.Path, r.Host, name, len(body))
}

// withNetwork creates a sandbox with programs on 80 and, with HTTPS, on 443 and 8443.
func (n *node) withNetwork(network string) string {
	n.t.Helper()
	id := n.do("POST", "/v2/sandboxes", `{"templateID":"base","network":`+network+`}`).fields(n.t)["sandboxID"].(string)
	n.Listen(id, envd.Port, agentHandler(id))
	n.Listen(id, 80, http.HandlerFunc(seen))
	for _, port := range []uint16{443, 8443} {
		srv := httptest.NewTLSServer(http.HandlerFunc(seen))
		n.t.Cleanup(srv.Close)
		n.ListenOn(id, port, srv.Listener)
	}
	return id
}

func TestProgramsThatSpeakHTTPS(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.withNetwork(`{"httpsPorts":[443,444]}`)
		for _, c := range []struct {
			name, path string
			header     []string
			code       int
			want       string
		}{
			{"HTTPS", "/x", append(toPort(id, "443"), "Host", "any.example"), 200, "/x host=any.example tls=any.example"},
			{"by name", "/x", []string{"Host", "443-" + id + ".e2b.test:3000"}, 200, "/x host=443-" + id + ".e2b.test:3000 tls=443-" + id + ".e2b.test"},
			{"by path", byPath(id, 443, "/x"), nil, 200, "/x host="},
			{"HTTP", "/x", toPort(id, "80"), 200, "tls=none"},
			{"a large head", "/large", toPort(id, "443"), 502, "too large"},
			{"HTTPS on a port that is not listed", "/x", toPort(id, "8443"), 400, "HTTPS server"},
			{"a closed port", "/x", toPort(id, "444"), 502, "port is not open"},
		} {
			if r := n.plain("GET", c.path, c.header...); r.code != c.code || !strings.Contains(r.body, c.want) {
				t.Errorf("%s: %d %.300s, want %d %q", c.name, r.code, r.body, c.code, c.want)
			}
		}
	})
}

func TestAnUpgradeOverHTTPS(t *testing.T) {
	n := newNode(t, Config{})
	id := n.withNetwork(`{"httpsPorts":[443]}`)
	conn, resp := n.raw("GET / HTTP/1.1\r\nHost: 443-" + id + ".e2b.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	defer conn.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	if _, err := io.WriteString(conn, "there and back\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "there and back\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// A program that speaks no TLS where it should gets nothing of the request.
func TestAProgramThatShouldSpeakHTTPS(t *testing.T) {
	n := newNode(t, Config{})
	id := n.withNetwork(`{"httpsPorts":[80]}`)
	if r := n.plain("GET", "/x", toPort(id, "80")...); r.code != http.StatusBadGateway {
		t.Errorf("%d %s", r.code, r.body)
	}
}

func TestTheHostThatProgramsSee(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.withNetwork(`{"maskRequestHost":"app.example:${PORT}","httpsPorts":[443],"allowPublicTraffic":true}`)
		for port, want := range map[int]string{80: "host=app.example:80 ", 443: "host=app.example:443 tls=app.example"} {
			if r := n.plain("GET", "/x", toPort(id, fmt.Sprint(port))...); r.code != 200 || !strings.Contains(r.body, want) {
				t.Errorf("%d %s, want %q", r.code, r.body, want)
			}
		}
		if r := n.plain("GET", "/x", toPort(id, fmt.Sprint(envd.Port))...); strings.Contains(r.body, "app.example") {
			t.Errorf("the agent sees %s", r.body)
		}
		got := n.do("GET", "/sandboxes/"+id, "").body
		if !strings.Contains(got, `"network":{"httpsPorts":[443],"maskRequestHost":"app.example:${PORT}"}`) {
			t.Errorf("it says %s", got)
		}
		// The rules for what it reaches are something else.
		if r := n.do("PUT", "/sandboxes/"+id+"/network", `{}`); r.code != 204 || !strings.Contains(n.do("GET", "/sandboxes/"+id, "").body, "app.example") {
			t.Errorf("%d %s", r.code, r.body)
		}
	})
}

// held is a listener whose first connection gets no answer until its client ends it.
type held struct {
	net.Listener
	once  sync.Once
	begun chan bool
}

func (h *held) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	h.once.Do(func() {
		_, _ = c.Read(make([]byte, 1))
		h.begun <- true
		_, _ = io.Copy(io.Discard, c)
		c.Close()
		c, err = h.Listener.Accept()
	})
	return c, err
}

// A pause in the middle of a handshake comes before the request, which nothing has got.
func TestAPauseBeforeARequestOverHTTPS(t *testing.T) {
	for _, silent := range []bool{false, true} { // Whether the connections of the machine stay open.
		n := newNode(t, Config{})
		n.Silent = silent
		id := n.withNetwork(`{"httpsPorts":[444]}`)
		n.Edit(id, func(sb *sandbox.Sandbox) { sb.AutoResume = true })
		srv := httptest.NewUnstartedServer(http.HandlerFunc(seen))
		n.ListenOn(id, 444, srv.Listener)
		h := &held{Listener: srv.Listener, begun: make(chan bool)}
		srv.Listener = h
		srv.StartTLS()
		t.Cleanup(srv.Close)
		answer := make(chan reply, 1)
		go func() { answer <- n.plain("POST", "/x", toPort(id, "444")...) }()
		<-h.begun
		if r := n.do("POST", "/sandboxes/"+id+"/pause", ""); r.code != 204 {
			t.Fatalf("%d %s", r.code, r.body)
		}
		if r := <-answer; r.code != 200 || n.Transitions.Resumes() != 1 {
			t.Errorf("silent %v: %d %s, %d resumes", silent, r.code, r.body, n.Transitions.Resumes())
		}
	}
}
