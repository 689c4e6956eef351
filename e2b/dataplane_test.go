package e2b

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
	"github.com/rundlet/rundlet/sandbox"
)

// plain sends a request without a key.
func (n *node) plain(method, path string, header ...string) reply {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.send(req, header...)
}

func TestAddressing(t *testing.T) {
	n := newNode(t, Config{Domain: "sb.test:8443"})
	id := n.sandbox()
	n.Listen(id, 80, agentHandler("port80"))
	agent := id + " GET "
	tests := []struct {
		name   string
		header []string
		code   int
		want   string
	}{
		{"host", []string{"Host", "49983-" + id + ".sb.test"}, 200, agent + "49983-" + id + ".sb.test /x?a=%2F;b"},
		{"host with port", []string{"Host", "49983-" + id + ".sb.test:1234"}, 200, agent},
		{"host in upper case, with a dot", []string{"Host", "49983-" + strings.ToUpper(id) + ".SB.test."}, 200, agent},
		{"host, legacy id", []string{"Host", "49983-" + id + "-abc.sb.test"}, 200, agent},
		{"host, another port", []string{"Host", "80-" + id + ".sb.test"}, 200, "port80 GET"},
		{"host wins over headers", append(toAgent("other"), "Host", "80-"+id+".sb.test"), 200, "port80 GET"},
		{"host of another domain", []string{"Host", "49983-" + id + ".evil.test"}, 401, "API key"},
		{"host, port 0", []string{"Host", "0-" + id + ".sb.test"}, 400, "not a sandbox id and port"},
		{"host, port too large", []string{"Host", "65536-" + id + ".sb.test"}, 400, "not a sandbox id and port"},
		{"headers", toAgent(id), 200, agent},
		{"headers, localhost", append(toAgent(id), "Host", "localhost:3000"), 200, agent},
		{"headers, sandbox host", append(toAgent(id), "Host", "sandbox.sb.test"), 200, agent},
		{"headers, legacy id", toAgent(id + "-abc"), 200, agent},
		{"headers, IPv6", append(toAgent(id), "Host", "[::1]:3000"), 200, agent},
		{"headers, but the API's host", append(toAgent(id), "Host", "api.sb.test"), 401, "API key"},
		{"only the id", toAgent(id)[:2], 400, "send both"},
		{"only the port", toAgent(id)[2:], 400, "send both"},
		{"header with a bad id", toAgent("../x"), 400, "not a sandbox id and port"},
		{"header with a bad port", []string{envd.SandboxIDHeader, id, envd.SandboxPortHeader, "+80"}, 400, "not a sandbox id and port"},
		{"nothing", nil, 401, "API key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			r := n.plain("GET", "/x?a=%2F;b", tt.header...)
			if r.code != tt.code || !strings.Contains(r.body, tt.want) {
				t.Errorf("%d %s\nwant %d %q", r.code, r.body, tt.code, tt.want)
			}
		})
	}
}

func TestAnyDomain(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	if r := n.plain("GET", "/health", "Host", "49983-"+id+".any.test"); r.code != http.StatusNoContent {
		t.Errorf("%d %s", r.code, r.body)
	}
}

func TestProxyErrors(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	set := func(s sandbox.State) { n.Edit(id, func(sb *sandbox.Sandbox) { sb.State = s }) }
	missing := `{"sandboxId":"` + id + `","message":"The sandbox was not found","code":502}`
	port := []string{envd.SandboxIDHeader, id, envd.SandboxPortHeader, "81"}

	if r := n.plain("GET", "/", port...); r.code != 502 || strings.TrimSpace(r.body) !=
		`{"sandboxId":"`+id+`","message":"The sandbox is running but port is not open","port":81,"code":502}` {
		t.Errorf("closed port: %d %s", r.code, r.body)
	}
	for _, s := range []sandbox.State{sandbox.StateCreating, sandbox.StatePaused, sandbox.StateKilling, sandbox.StateKilled} {
		set(s)
		if r := n.plain("GET", "/health", toAgent(id)...); r.code != 502 || strings.TrimSpace(r.body) != missing {
			t.Errorf("%s: %d %s", s, r.code, r.body)
		}
	}
	set(sandbox.StateRunning)
	n.Fail(sandbox.ErrUnavailable)
	if r := n.plain("GET", "/health", toAgent(id)...); r.code != 503 {
		t.Errorf("starting: %d %s", r.code, r.body)
	}
	n.Fail(nil)
}

func TestProxyErrorPage(t *testing.T) {
	n := newNode(t, Config{})
	browser := append(toAgent("gone"), "User-Agent", "Mozilla/5.0", "Accept", "text/html,*/*")
	for _, tt := range []struct {
		name   string
		header []string
		html   bool
	}{
		{"browser", browser, true},
		{"browser that navigates", append(browser, "Sec-Fetch-Mode", "navigate"), true},
		{"script", append(browser, "Sec-Fetch-Mode", "cors"), false},
		{"script for JSON", append(browser, "Accept", "application/json"), false},
		{"program", append(browser, "User-Agent", "curl/8"), false},
	} {
		r := n.plain("GET", "/", tt.header...)
		if got := strings.HasPrefix(r.header.Get("Content-Type"), "text/html"); r.code != 502 || got != tt.html || !strings.Contains(r.body, "was not found") {
			t.Errorf("%s: %d %v %s", tt.name, r.code, r.header, r.body)
		}
	}
}

func TestTrafficToken(t *testing.T) {
	n := newNode(t, Config{})
	r := n.do("POST", "/v2/sandboxes", `{"templateID":"base","network":{"allowPublicTraffic":false}}`).fields(t)
	id, token := r["sandboxID"].(string), r["trafficAccessToken"].(string)
	n.Listen(id, 80, agentHandler(id))
	n.Listen(id, envd.Port, agentHandler(id))
	to := []string{envd.SandboxIDHeader, id, envd.SandboxPortHeader, "80"}
	if r := n.plain("GET", "/", to...); r.code != 403 {
		t.Errorf("without: %d %s", r.code, r.body)
	}
	if r := n.plain("GET", "/", append(to, "e2b-traffic-access-token", token+"x")...); r.code != 403 {
		t.Errorf("wrong: %d %s", r.code, r.body)
	}
	if r := n.plain("GET", "/", append(to, "e2b-traffic-access-token", token)...); r.code != 200 || strings.Contains(r.body, token) {
		t.Errorf("right: %d %s", r.code, r.body)
	}
	if r := n.plain("GET", "/", toAgent(id)...); r.code != 200 {
		t.Errorf("the agent got another token: %d %s", r.code, r.body)
	}
}

func TestHeadersIntoTheSandbox(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	r := n.plain("GET", "/", append(toAgent(id), "X-API-Key", n.key, "X-Access-Token", "t", "X-Forwarded-For", "1.2.3.4", "Cookie", "c=1")...)
	for _, want := range []string{"X-Access-Token: t", "X-Forwarded-For: 127.0.0.1\r", "X-Forwarded-Proto: http", "Cookie: c=1"} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%q is missing in %s", want, r.body)
		}
	}
	if strings.Contains(r.body, n.key) {
		t.Errorf("code in the sandbox sees a key of the server: %s", r.body)
	}
	if r := n.plain("GET", "/", append(toAgent(id), "X-API-Key", "of-the-service")...); !strings.Contains(r.body, "of-the-service") {
		t.Errorf("the key of the service did not reach it: %s", r.body)
	}
}

func TestInternalRoutes(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 80, agentHandler(id))
	for _, path := range []string{
		"/init", "/init?x=1", "/init/", "//init", "/./init", "/a/../init", "/%69nit", "/freeze", "/unfreeze", "/collapse",
		"/fsfreeze", "/fsthaw", "/upgrade", "/rundlet", "/rundlet/x", "/rundlet/../rundlet/x", "/a/..//rundlet/x",
	} {
		if r := n.plain("POST", path, toAgent(id)...); r.code != 404 || !strings.Contains(r.body, `"code":404`) {
			t.Errorf("%s reached the agent: %d %s", path, r.code, r.body)
		}
	}
	for _, path := range []string{"/initial", "/files/init", "/rundlets"} {
		if r := n.plain("POST", path, toAgent(id)...); r.code != 200 {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
	if r := n.plain("POST", "/init", envd.SandboxIDHeader, id, envd.SandboxPortHeader, "80"); r.code != 200 {
		t.Errorf("other ports have no internal routes: %d %s", r.code, r.body)
	}
}

// signedFile is the URL of a file that names no sandbox and is signed with a
// token. Without an operation it is to read.
func signedFile(r signature.Request, token string) string {
	if r.Operation == "" {
		r.Operation = signature.Read
	}
	q := url.Values{"path": {r.Path}, "signature": {signature.Sign(r, token)}}
	if r.User != "" {
		q.Set("username", r.User)
	}
	if r.Expiration != "" {
		q.Set("signature_expiration", r.Expiration)
	}
	return envd.FilesPath + "?" + q.Encode()
}

func TestSignedFiles(t *testing.T) {
	n := newNode(t, Config{})
	ids := []string{n.sandbox(), n.sandbox(), n.sandbox()}
	sign := func(id, op, path, user, expiry string) string {
		return signedFile(signature.Request{Path: path, Operation: op, User: user, Expiration: expiry}, "token-"+id)
	}
	for _, id := range ids {
		u := sign(id, "read", "dir/a b.txt", "user", "")
		if r := n.plain("GET", u); r.code != 200 || !strings.Contains(r.body, id+" GET 127.0.0.1") || !strings.HasSuffix(r.body, u) {
			t.Errorf("read in %s: %d %s", id, r.code, r.body)
		}
		u = sign(id, "write", "", "", "99999999999")
		if r := n.plain("POST", u); r.code != 200 || !strings.Contains(r.body, id+" POST") {
			t.Errorf("write in %s: %d %s", id, r.code, r.body)
		}
		if r := n.plain("OPTIONS", u, "Access-Control-Request-Method", "POST"); r.code != 200 {
			t.Errorf("preflight in %s: %d %s", id, r.code, r.body)
		}
		n.plain("GET", u).wantError(t, 401, "invalid signature")
	}
	n.plain("GET", sign(ids[0], "read", "a", "", "1")).wantError(t, 401, "signature is already expired")
	n.plain("GET", "/files?path=a").wantError(t, 401, "missing signature query parameter")
	n.plain("GET", "/files?path=a&signature=v1_x").wantError(t, 401, "invalid signature")
	n.do("DELETE", "/sandboxes/"+ids[0], "")
	n.plain("GET", sign(ids[0], "read", "a", "", "")).wantError(t, 401, "invalid signature")
	// A sandbox without a token has no signatures, so none may match an empty one.
	open := n.do("POST", "/sandboxes", `{"templateID":"base","secure":false}`).fields(t)["sandboxID"].(string)
	n.Listen(open, envd.Port, agentHandler(open))
	n.plain("GET", signedFile(signature.Request{Path: "a"}, "")).wantError(t, 401, "invalid signature")
}
