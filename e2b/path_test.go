package e2b

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
)

func byPath(id string, port int, rest string) string {
	return fmt.Sprintf("/sandbox-proxy/%s/ports/%d%s", id, port, rest)
}

func TestAddressingByPath(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		n.Listen(id, 80, agentHandler("port80"))
		for _, tt := range []struct {
			name, path string
			header     []string
			code       int
			want       string
		}{
			{"agent", byPath(id, 49983, "/x?a=%2F;b"), nil, 200, id + " GET " + strings.TrimPrefix(n.url, "http://") + " /x?a=%2F;b"},
			{"health", byPath(id, 49983, "/health"), nil, 204, ""},
			{"another port", byPath(id, 80, "/a%2Fb"), nil, 200, "/a%2Fb"},
			{"no slash", byPath(id, 80, ""), nil, 200, "port80 GET " + strings.TrimPrefix(n.url, "http://") + " /"},
			{"the API's host", byPath(id, 80, "/x"), []string{"Host", "api.e2b.test"}, 200, "port80 GET api.e2b.test /x"},
			{"SDKs send the headers as well", byPath(id, 80, "/x"), toAgent(id), 200, "port80 GET"},
			{"dots do not lead to the API", byPath(id, 80, "/../../../../sandboxes"), nil, 200, "/../../../../sandboxes"},
			{"dots do not lead to another sandbox", byPath(id, 80, "/%2e%2e/../../i0/ports/1/"), nil, 200, "port80 GET"},
			{"the prefix", byPath(id, 80, "/"), []string{"X-Forwarded-Prefix", "/of-the-client"}, 200, "X-Forwarded-Prefix: " + byPath(id, 80, "") + "\r\n"},
			{"closed port", byPath(id, 81, "/"), nil, 502, `{"sandboxId":"` + id + `","message":"The sandbox is running but port is not open","port":81,"code":502}`},
			{"unknown sandbox", byPath("unknown", 80, "/"), nil, 502, `{"sandboxId":"unknown","message":"The sandbox was not found","code":502}`},
			{"control route", byPath(id, 49983, "/init"), nil, 404, "reserved"},
			{"control route behind dots", byPath(id, 49983, "/x/../rundlet/dial"), nil, 404, "reserved"},
			{"control route, encoded", byPath(id, 49983, "/%69nit"), nil, 404, "reserved"},
			{"key in the path", byPath(id, 80, "/"+n.key), nil, 400, "key"},
			{"no port", "/sandbox-proxy/" + id + "/", nil, 400, "the path must begin with"},
			{"port 0", byPath(id, 0, "/"), nil, 400, "not a sandbox id and port"},
			{"not such a path", "/sandbox-proxy", nil, 401, "API key"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				n.t = t
				if r := n.plain("GET", tt.path, tt.header...); r.code != tt.code || !strings.Contains(r.body, tt.want) {
					t.Errorf("%d %s\nwant %d %q", r.code, r.body, tt.code, tt.want)
				}
			})
		}
		n.t = t
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if r := n.plain(method, byPath(id, 80, "/x")); r.code != 200 || !strings.Contains(r.body, " "+method+" ") {
				t.Errorf("%s: %d %s", method, r.code, r.body)
			}
		}
		// By its name, a sandbox has these paths as any other.
		if r := n.plain("GET", byPath("i9", 80, "/x"), "Host", "80-"+id+".e2b.test"); r.code != 200 || !strings.HasSuffix(r.body, byPath("i9", 80, "/x")) || strings.Contains(r.body, "X-Forwarded-Prefix") {
			t.Errorf("by name: %d %s", r.code, r.body)
		}
	})
}

func TestPrivateTrafficByPath(t *testing.T) {
	n := newNode(t, Config{})
	id := n.private()
	n.Listen(id, 80, agentHandler(id))
	for token, want := range map[string]int{"": 403, "wrong": 403, "traffic": 200} {
		if r := n.plain("GET", byPath(id, 80, "/"), "e2b-traffic-access-token", token); r.code != want || strings.Contains(r.body, "traffic\r") {
			t.Errorf("%q: %d %s", token, r.code, r.body)
		}
	}
}

func TestAutoResumeByPath(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sleeper()
	if r := n.plain("GET", byPath(id, envd.Port, "/x")); r.code != 403 || n.Transitions.Resumes() != 0 {
		t.Errorf("without a token: %d %s after %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
	if r := n.plain("GET", byPath(id, 80, "/x")); r.code != 200 || n.Transitions.Resumes() != 1 {
		t.Errorf("%d %s after %d resumes", r.code, r.body, n.Transitions.Resumes())
	}
}

// A signed URL of a file names its sandbox here.
func TestSignedFileByPath(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	if r := n.plain("GET", byPath(id, envd.Port, "/files?path=a&signature=x")); r.code != 200 || !strings.HasSuffix(r.body, "/files?path=a&signature=x") {
		t.Errorf("%d %s", r.code, r.body)
	}
}

// All sandboxes have the origin of the API by path: an answer of one acts on its paths only.
func TestAnswersByPathStayInTheirPaths(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Set-Cookie", "early=1; Path=/")
		h.Set("Link", "</x>")
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusEarlyHints)
		}
		h.Set("Set-Cookie", "late=1; Domain=e2b.test; Path=/; HttpOnly")
		h.Set("Location", "/login")
		h.Set("Service-Worker-Allowed", "/")
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusFound)
			return
		}
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
	}))
	prefix := byPath(id, 80, "")
	for _, upgrade := range []bool{false, true} {
		interim := 0
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			interim++
			if got := header.Get("Set-Cookie"); code != http.StatusEarlyHints || got != "early=1; Path="+prefix || header.Get("Link") == "" {
				t.Errorf("interim answer %d %v", code, header)
			}
			return nil
		}}
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", n.url+prefix+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if upgrade {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "x")
		}
		resp, err := n.client.Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		h := resp.Header
		if !slices.Equal(h["Set-Cookie"], []string{"late=1; HttpOnly; Path=" + prefix}) || h.Get("Location") != prefix+"/login" || h.Get("Service-Worker-Allowed") != "" {
			t.Errorf("upgrade %v: %s %v", upgrade, resp.Status, h)
		}
		if upgrade != (interim == 0) {
			t.Errorf("upgrade %v: %d interim answers", upgrade, interim)
		}
	}
}

func TestStreamsByPath(t *testing.T) {
	eachProtocol(t, func(t *testing.T, n *node) {
		id := n.sandbox()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", n.url+byPath(id, envd.Port, "/stream"), nil)
		resp, err := n.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := bufio.NewReader(resp.Body)
		if line, err := body.ReadString('\n'); err != nil || line != "first\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if r := n.do("DELETE", "/sandboxes/"+id, ""); r.code != 204 {
			t.Fatalf("%d %s", r.code, r.body)
		}
		within(t, time.Minute, "the end of the stream", func() {
			if _, err := io.ReadAll(body); err == nil {
				t.Error("a killed stream looks complete")
			}
		})
	})
}

// The two sides of an upgraded connection end one after the other, by path too.
func TestUpgradeByPath(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		all, _ := io.ReadAll(rw)
		_, _ = io.WriteString(c, r.URL.Path+" got "+string(all))
	}))
	c, resp := n.raw("GET " + byPath(id, 80, "/ws") + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "/ws got hello" {
		t.Errorf("%q, %v", got, err)
	}
}
