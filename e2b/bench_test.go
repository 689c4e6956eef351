package e2b

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/e2b/internal/fakeruntime"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// BenchmarkOverhead is what the server adds: create over a runtime that takes no
// time, a request to an agent through the proxy, and the same without it.
func BenchmarkOverhead(b *testing.B) {
	var keys MemoryKeys
	_, key, _ := keys.Create(b.Context(), "")
	rt := &fakeruntime.Runtime{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewServer(Config{}, rt, &keys).Serve(ctx, ln) }()
	sb, err := rt.Create(ctx, sandbox.CreateRequest{Template: "base"})
	if err != nil {
		b.Fatal(err)
	}
	rt.Listen(sb.ID, envd.Port, agentHandler(sb.ID))
	direct := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return rt.Dial(ctx, sb.ID, envd.Port)
	}}
	through := &http.Transport{}
	b.Cleanup(func() {
		direct.CloseIdleConnections()
		through.CloseIdleConnections()
		_ = rt.Kill(context.Background(), sb.ID)
		cancel()
		<-served
	})

	run := func(name string, tr *http.Transport, method, path, body string, header ...string) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				req, _ := http.NewRequest(method, "http://"+ln.Addr().String()+path, strings.NewReader(body))
				for i := 0; i < len(header); i += 2 {
					req.Header.Set(header[i], header[i+1])
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode >= 300 {
					b.Fatal(resp.Status)
				}
			}
		})
	}
	run("create", through, "POST", "/v2/sandboxes", `{"templateID":"base","metadata":{"a":"b"}}`, "X-API-Key", key)
	run("agent/direct", direct, "POST", "/echo", "hello")
	run("agent/proxied", through, "POST", "/echo", "hello", toAgent(sb.ID)...)
}
