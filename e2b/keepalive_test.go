package e2b

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/envd"
)

// A client's connection must outlive its requests: one that the server closes
// when the client is about to use it again is a request that fails.
func TestTheConnectionOfAClientIsKept(t *testing.T) {
	n := newNode(t, Config{})
	id := n.sandbox()
	n.Listen(id, 8080, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			io.Copy(io.Discard, r.Body)
		} // else it answers before it has seen the end of the request
		io.WriteString(w, "{}")
	}))
	for _, tc := range []struct {
		name, path string
		body       func() io.Reader
	}{
		{"known length, read", "/read", func() io.Reader { return strings.NewReader("{}") }},
		{"known length, ignored", "/", func() io.Reader { return strings.NewReader("{}") }},
		{"chunked, read", "/read", func() io.Reader { return io.MultiReader(strings.NewReader("{"), strings.NewReader("}")) }},
		{"chunked, ignored", "/", func() io.Reader { return io.MultiReader(strings.NewReader("{"), strings.NewReader("}")) }},
		{"no body", "/", func() io.Reader { return nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fresh := 0
			trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
				if !i.Reused {
					fresh++
				}
			}}
			for range 500 {
				req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", n.url+tc.path, tc.body())
				req.Header.Set(envd.SandboxIDHeader, id)
				req.Header.Set(envd.SandboxPortHeader, "8080")
				resp, err := n.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(text) != "{}" || err != nil {
					t.Fatalf("%q, %v", text, err)
				}
			}
			if fresh > 1 {
				t.Errorf("%d connections for 500 requests", fresh)
			}
		})
	}
}
