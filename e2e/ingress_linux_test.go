package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/node/certificate"
)

// hosts answers with the Host that it sees, by HTTP on port 8000 and by HTTPS on 8443.
const hosts = `
import http.server, ssl, threading
class Seen(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("%s %s" % (self.headers["Host"], type(self.connection).__name__)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
plain = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Seen)
secure = http.server.ThreadingHTTPServer(("127.0.0.1", 8443), Seen)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("pair.pem")
secure.socket = context.wrap_socket(secure.socket, server_side=True)
for s in plain, secure: threading.Thread(target=s.serve_forever).start()
open("ready", "w").write("x")
`

// selfMade is a certificate with its key that no client trusts.
func selfMade(t *testing.T) string {
	t.Helper()
	authority, err := certificate.OpenAuthority(t.TempDir(), "app.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := certificate.NewLocal(authority).GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
}

func TestProgramsBehindAMaskAndHTTPS(t *testing.T) {
	srv, api, _ := newServer(t)
	ask := func(method, url, body string, header ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var sb client.Sandbox
	made := ask(http.MethodPost, api.URL+"/v2/sandboxes", `{"templateID":"base","network":{"maskRequestHost":"app.example:${PORT}","httpsPorts":[8443]}}`, "X-API-Key", api.Key)
	if err := json.Unmarshal([]byte(made), &sb); err != nil || sb.ID == "" {
		t.Fatalf("%s: %v", made, err)
	}
	for path, content := range map[string]string{"/home/user/pair.pem": selfMade(t), "/home/user/hosts.py": hosts} {
		if err := upload(t.Context(), api, sb, path, content); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := run(t.Context(), api, sb, "setsid python3 hosts.py >hosts.log 2>&1 </dev/null & until [ -s ready ]; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	check := func(when, id string) {
		t.Helper()
		for port, want := range map[string]string{"8000": "app.example:8000 socket", "8443": "app.example:8443 SSLSocket"} {
			if got := ask(http.MethodGet, api.URL+"/x", "", envd.SandboxIDHeader, id, envd.SandboxPortHeader, port); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
	}
	check("created", sb.ID)
	if err := api.Pause(t.Context(), sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := api.Connect(t.Context(), sb.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	check("resumed", sb.ID)
	children, err := api.Fork(t.Context(), sb.ID, 1, time.Minute)
	if err != nil || children[0].Error != nil {
		t.Fatal(err, children)
	}
	check("forked", children[0].Sandbox.ID)
	killAll(t, api, []client.Sandbox{sb, *children[0].Sandbox})
	srv.stop(t)
}
