package e2b

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// node is a server on a loopback port over a fake runtime.
type node struct {
	*fakeruntime.Runtime
	t      *testing.T
	url    string
	key    string
	client *http.Client
	server *Server
	// cancel ends Serve; stop also waits for it, and kills what is left.
	cancel context.CancelFunc
	stop   func()
}

func newNode(t *testing.T, cfg Config) *node {
	t.Helper()
	return newNodeOver(t, cfg, "http", func(ln net.Listener) net.Listener { return ln })
}

// newNodeOver is newNode whose listener is wrapped, for another scheme.
func newNodeOver(t *testing.T, cfg Config, scheme string, wrap func(net.Listener) net.Listener) *node {
	t.Helper()
	keys := &MemoryKeys{}
	_, key, err := keys.Create(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rt := &fakeruntime.Runtime{}
	rt.Known = []sandbox.Template{{
		ID: "tpl0", Aliases: []string{"base"}, BuildID: "6c3a6f3e-3e37-4a2e-9a4a-0c1f2a3b4c5d",
		VCPUs: 2, MemoryMiB: 512, DiskMiB: 1024, CreatedAt: fakeruntime.Epoch,
	}}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	server := NewServer(cfg, rt, keys)
	go func() { served <- server.Serve(ctx, wrap(ln)) }()
	transport := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	n := &node{Runtime: rt, t: t, url: scheme + "://" + ln.Addr().String(), key: key, server: server, cancel: cancel, client: &http.Client{Transport: transport}}
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		all, _ := rt.List(context.Background(), sandbox.ListFilter{})
		for _, sb := range all {
			_ = rt.Kill(context.Background(), sb.ID)
		}
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(n.stop)
	return n
}

// reply is an answer, read to its end.
type reply struct {
	code   int
	header http.Header
	body   string
}

// do sends a control-plane request with the key; body may be "".
func (n *node) do(method, path, body string, header ...string) reply {
	n.t.Helper()
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, rd)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("X-API-KEY", n.key)
	return n.send(req, header...)
}

func (n *node) send(req *http.Request, header ...string) reply {
	n.t.Helper()
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := n.client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// fields is the body as an object.
func (r reply) fields(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	return m
}

// wantError checks the protocol's form of an error.
func (r reply) wantError(t *testing.T, code int, message string) {
	t.Helper()
	var e struct {
		Code    int
		Message string
	}
	d := json.NewDecoder(bytes.NewReader([]byte(r.body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		t.Fatalf("%d, body %q: %v", r.code, r.body, err)
	}
	if r.code != code || e.Code != code || !strings.Contains(e.Message, message) || e.Message == "" {
		t.Errorf("got %d %s, want %d and %q", r.code, r.body, code, message)
	}
}

// sandbox creates one with an agent that identifies itself.
func (n *node) sandbox() string {
	n.t.Helper()
	r := n.do("POST", "/v2/sandboxes", `{"templateID":"base"}`)
	if r.code != http.StatusCreated {
		n.t.Fatalf("create: %d %s", r.code, r.body)
	}
	id := r.fields(n.t)["sandboxID"].(string)
	n.Listen(id, envd.Port, agentHandler(id))
	return id
}

// agentHandler is a fake agent: /health, /echo, /stream (one line, then silence).
func agentHandler(id string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_ = r.Header.Write(w)
		_, _ = io.WriteString(w, id+" "+r.Method+" "+r.Host+" "+r.URL.RequestURI())
	})
	return mux
}

// toAgent routes a request to the agent by headers.
func toAgent(id string) []string {
	return []string{envd.SandboxIDHeader, id, envd.SandboxPortHeader, "49983"}
}

func TestLifeOfASandbox(t *testing.T) {
	n := newNode(t, Config{Domain: "e2b.localhost:8443"})
	id := n.sandbox()
	if r := n.do("GET", "/health", "", toAgent(id)...); r.code != http.StatusNoContent {
		t.Errorf("health of a running sandbox: %d %s", r.code, r.body)
	}
	r := n.do("GET", "/sandboxes/"+id, "")
	if r.code != http.StatusOK || r.fields(t)["state"] != "running" {
		t.Errorf("get: %d %s", r.code, r.body)
	}
	if r := n.do("DELETE", "/sandboxes/"+id, ""); r.code != http.StatusNoContent || r.body != "" {
		t.Errorf("kill: %d %q", r.code, r.body)
	}
	gone := `Sandbox "` + id + `" doesn't exist or you don't have access to it`
	n.do("DELETE", "/sandboxes/"+id, "").wantError(t, 404, gone)
	n.do("GET", "/sandboxes/"+id, "").wantError(t, 404, gone)
	r = n.do("GET", "/health", "", toAgent(id)...)
	if want := `{"sandboxId":"` + id + `","message":"The sandbox was not found","code":502}`; r.code != 502 || strings.TrimSpace(r.body) != want {
		t.Errorf("health of a killed sandbox: %d %s", r.code, r.body)
	}
}

func TestServeEndsStreams(t *testing.T) {
	n := newNode(t, Config{Grace: 50 * time.Millisecond})
	id := n.sandbox()
	body := n.stream(t.Context(), id)
	broken := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(body)
		broken <- err
	}()
	n.cancel()
	within(t, time.Minute, "the end of the stream", func() {
		if err := <-broken; err == nil {
			t.Error("a stream that the server broke off looks complete")
		}
	})
}

func TestServeFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	err = NewServer(Config{}, &fakeruntime.Runtime{}, &MemoryKeys{}).Serve(t.Context(), ln)
	if err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Serve of a closed listener: %v", err)
	}
}
