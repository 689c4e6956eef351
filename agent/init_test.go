//go:build linux

package agent_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/internal/halfclose"
)

func (g *guest) etc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(g.root + "/etc/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestInit(t *testing.T) {
	g := newGuest(t)
	if err := envd.Health(t.Context(), g.dial); err != nil {
		t.Fatal(err)
	}
	g.write(t, "etc/hostname", "a-much-longer-name-than-the-new-one\n")
	host := time.Now().Add(-time.Hour)
	req := envd.InitRequest{
		Env: map[string]string{"K": "v", "E2B_SANDBOX": "no"}, AccessToken: "a1", ControlToken: "c1", Timestamp: host,
		DefaultUser: "root", DefaultWorkdir: "/", Hostname: "box", SandboxID: "i1", TemplateID: "t1", RandomSeed: []byte("seed"),
	}
	if err := os.WriteFile(g.root+"/etc/hosts", []byte("127.0.1.1\told\n127.0.0.1 localhost"), 0o644); err != nil {
		t.Fatal(err)
	}
	g.init(t, req)
	if g.kernel.hostname != "box" || string(g.kernel.seed) != "seed" || !g.kernel.clock.Equal(host) {
		t.Errorf("kernel got %+v", g.kernel)
	}
	id := g.etc(t, "machine-id")
	if g.etc(t, "hostname") != "box\n" || len(id) != 33 {
		t.Errorf("hostname %q machine-id %q", g.etc(t, "hostname"), id)
	}
	if hosts := g.etc(t, "hosts"); hosts != "127.0.0.1 localhost\n127.0.1.1 box\n" {
		t.Errorf("hosts %q", hosts)
	}
	_, text := g.do(t, "GET", "/envs", map[string]string{"X-Access-Token": "a1"}, nil)
	if text != `{"E2B_SANDBOX":"true","E2B_SANDBOX_ID":"i1","E2B_TEMPLATE_ID":"t1","K":"v"}` {
		t.Errorf("envs %s", text)
	}
	// Again with the same: nothing changes.
	g.init(t, req)
	if again := g.etc(t, "machine-id"); again != id {
		t.Errorf("machine-id changed from %q to %q", id, again)
	}
	// A guest process cannot make the sandbox another one.
	for _, token := range []string{"", "wrong"} {
		resp, _ := g.do(t, "POST", "/init", map[string]string{"X-Control-Token": token, "X-Access-Token": "a1"}, strings.NewReader(`{"controlToken":"mine","accessToken":""}`))
		if resp.StatusCode != 401 {
			t.Errorf("token %q: %d", token, resp.StatusCode)
		}
	}
	if err := envd.Init(t.Context(), g.dial, envd.InitRequest{ControlToken: "c2"}); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("new token alone: %v", err)
	}
	// The next life of a snapshot: other id, other tokens, env replaced.
	g.init(t, envd.InitRequest{CurrentToken: "c1", ControlToken: "c2", AccessToken: "a2", SandboxID: "i2", Timestamp: time.Now()})
	if g.etc(t, "machine-id") == id {
		t.Error("machine-id is that of the first life")
	}
	if !g.kernel.clock.Equal(host) {
		t.Error("a right clock was set")
	}
	_, text = g.do(t, "GET", "/envs", map[string]string{"X-Access-Token": "a2"}, nil)
	if text != `{"E2B_SANDBOX":"true","E2B_SANDBOX_ID":"i2","E2B_TEMPLATE_ID":""}` {
		t.Errorf("envs %s", text)
	}
	if resp, _ := g.do(t, "GET", "/envs", map[string]string{"X-Access-Token": "a1"}, nil); resp.StatusCode != 401 {
		t.Errorf("the old token still works: %d", resp.StatusCode)
	}
}

// A kernel that refuses everything, and a guest that put traps in /etc, must
// not keep a sandbox from starting.
func TestInitTolerates(t *testing.T) {
	g := newGuest(t)
	g.kernel.err = syscall.EPERM
	if err := syscall.Mkfifo(g.root+"/etc/hostname", 0o666); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(g.root+"/etc/hosts", 0o666); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir() + "/outside"
	if err := os.Symlink(outside, g.root+"/etc/machine-id"); err != nil {
		t.Fatal(err)
	}
	g.init(t, envd.InitRequest{ControlToken: "c", Hostname: "h", SandboxID: "i", Timestamp: time.Unix(1, 0), RandomSeed: []byte("x")})
	if _, err := os.Lstat(outside); !os.IsNotExist(err) {
		t.Errorf("a link was followed: %v", err)
	}
}

// An environment fills the body of a create, and each byte of it may be escaped.
func TestInitTakesALargeEnvironment(t *testing.T) {
	g := newGuest(t)
	env := map[string]string{}
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G"} {
		env[name] = strings.Repeat("<", 128<<10)
	}
	g.init(t, envd.InitRequest{Env: env, ControlToken: "c1"})
	if _, text := g.do(t, "GET", "/envs", nil, nil); len(text) < 7*128<<10 {
		t.Errorf("%d bytes of environment", len(text))
	}
}

func TestInitRefuses(t *testing.T) {
	g := newGuest(t)
	for _, body := range []string{
		"", "{", `[]`, `{}`, `{"controlToken":""}`, `{"controlToken":"c","hostname":"a b"}`, `{"controlToken":"c","defaultWorkdir":"x"}`,
		`{"controlToken":"c","envVars":{"A=B":"x"}}`, `{"controlToken":"c","timestamp":"yesterday"}`, `{"controlToken":"c","randomSeed":"!"}`,
		`{"controlToken":"` + strings.Repeat("x", 8<<20) + `"}`,
	} {
		resp, text := g.do(t, "POST", "/init", nil, strings.NewReader(body))
		if resp.StatusCode != 400 || !strings.Contains(text, `"code":400`) {
			t.Errorf("%.60q: %d %s", body, resp.StatusCode, text)
		}
	}
	g.init(t, envd.InitRequest{ControlToken: "c"})
}

func TestAccessToken(t *testing.T) {
	g := newGuest(t, connect.WithProtoJSON())
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "token"})
	for _, tc := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/health", "", 204},
		{"GET", "/metrics", "", 401},
		{"GET", "/metrics", "token2", 401},
		{"GET", "/metrics", "token", 200},
		{"GET", "/envs", "", 401},
		{"GET", "/nothing", "", 401},
		{"GET", "/nothing", "token", 404},
		{"DELETE", "/files", "", 401},
		{"POST", "//files", "", 401},
	} {
		resp, text := g.do(t, tc.method, tc.path, map[string]string{"X-Access-Token": tc.token}, nil)
		if resp.StatusCode != tc.status || tc.status == 401 && !strings.HasPrefix(text, `{"code":401,"message":"`) {
			t.Errorf("%s %s %q: %d %s", tc.method, tc.path, tc.token, resp.StatusCode, text)
		}
	}
	_, err := g.process.List(t.Context(), connect.NewRequest(&processpb.ListRequest{}))
	wantCode(t, err, connect.CodeUnauthenticated, "")
	req := connect.NewRequest(&processpb.ListRequest{})
	req.Header().Set("X-Access-Token", "token")
	if _, err := g.process.List(t.Context(), req); err != nil {
		t.Error(err)
	}
}

func TestCORS(t *testing.T) {
	g := newGuest(t)
	g.init(t, envd.InitRequest{ControlToken: "c", AccessToken: "token"})
	resp, _ := g.do(t, "OPTIONS", "/process.Process/Start", map[string]string{
		"Origin": "https://example.com", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-access-token, e2b-sandbox-id",
	}, nil)
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Headers") != "x-access-token, e2b-sandbox-id" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ = g.do(t, "GET", "/envs", map[string]string{"Origin": "https://example.com"}, nil); resp.StatusCode != 401 || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

func TestMetrics(t *testing.T) {
	g := newGuest(t)
	_, text := g.do(t, "GET", "/metrics", nil, nil)
	for _, key := range []string{"ts", "cpu_count", "cpu_used_pct", "mem_total", "mem_used", "mem_cache", "mem_total_mib", "mem_used_mib", "disk_used", "disk_total"} {
		if !strings.Contains(text, `"`+key+`":`) {
			t.Errorf("%s is missing in %s", key, text)
		}
	}
	if strings.Contains(text, `"mem_total":0`) || strings.Contains(text, `"disk_total":0`) {
		t.Error(text)
	}
}

func TestHTTP2(t *testing.T) {
	g := newGuest(t)
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	defer tr.CloseIdleConnections()
	g.client = &http.Client{Transport: tr}
	if resp, _ := g.do(t, "GET", "/health", nil, nil); resp.ProtoMajor != 2 || resp.StatusCode != 204 {
		t.Errorf("%s %s", resp.Proto, resp.Status)
	}
}

func TestDialPort(t *testing.T) {
	g := newGuest(t)
	if _, err := envd.DialPort(t.Context(), g.dial, "", 80); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("before init: %v", err)
	}
	g.init(t, envd.InitRequest{ControlToken: "c"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		// The server speaks first, then echoes until the client's end.
		io.WriteString(conn, "greeting")
		_, err = io.Copy(conn, conn)
		served <- err
	}()
	conn, err := envd.DialPort(t.Context(), g.dial, "c", port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := bytes.Repeat([]byte("payload"), 100000)
	go func() {
		conn.Write(sent)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "greeting"+string(sent) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	l.Close()
	if _, err := envd.DialPort(t.Context(), g.dial, "c", port); !errors.Is(err, envd.ErrPortClosed) {
		t.Errorf("closed port: %v", err)
	}
	var status *envd.StatusError
	for _, p := range []int{0, -1, 65536} {
		if _, err := envd.DialPort(t.Context(), g.dial, "c", p); !errors.As(err, &status) || status.Status != 400 {
			t.Errorf("port %d: %v", p, err)
		}
	}
	if _, err := envd.DialPort(t.Context(), g.dial, "wrong", port); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("wrong token: %v", err)
	}
}

// What breaks off on one side of a connection to the loopback has no regular end on the other.
func TestADialedPortBreaksOff(t *testing.T) {
	g := newGuest(t)
	g.init(t, envd.InitRequest{ControlToken: "c"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, who := range []string{"program", "client"} {
		client, err := envd.DialPort(t.Context(), g.dial, "c", l.Addr().(*net.TCPAddr).Port)
		if err != nil {
			t.Fatal(err)
		}
		program, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		breaks, learns := client, program
		if who == "program" {
			breaks, learns = program, client
		}
		halfclose.Break(breaks)
		breaks.Close()
		if _, err := io.ReadAll(learns); err == nil {
			t.Errorf("the %s broke off, and the other side read a regular end", who)
		}
		learns.Close()
	}
}

func TestControlUnreachable(t *testing.T) {
	refused := func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	if err := envd.Health(t.Context(), refused); !errors.Is(err, envd.ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	// An agent that never answers ends with the context.
	a, b := net.Pipe()
	defer b.Close()
	go io.Copy(io.Discard, b)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := envd.Health(ctx, func(context.Context) (net.Conn, error) { return a, nil })
	if !errors.Is(err, envd.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func BenchmarkInit(b *testing.B) {
	g := newGuest(b)
	req := envd.InitRequest{
		Env: map[string]string{"K": "v"}, AccessToken: "a", ControlToken: "c", Hostname: "box", SandboxID: "i", TemplateID: "t",
		RandomSeed: make([]byte, 32), Timestamp: time.Now().Add(time.Hour),
	}
	for b.Loop() {
		if err := envd.Init(b.Context(), g.dial, req); err != nil {
			b.Fatal(err)
		}
	}
}
