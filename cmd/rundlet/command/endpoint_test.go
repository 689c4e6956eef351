package command

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/node/statedir"
)

// A client on this host needs no name to resolve: it dials the address, and asks for the
// name, which the certificate must be for.
func TestTheClientOfAnEndpointWithTLS(t *testing.T) {
	var hosts []string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		_ = json.NewEncoder(w).Encode([]string{})
	}))
	defer srv.Close()
	root := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	good := statedir.Endpoint{URL: "https://api.example.com:8443", Domain: "example.com:8443", Address: srv.Listener.Addr().String(), Root: root}
	api, err := clientOf(good)
	if err != nil {
		t.Fatal(err)
	}
	// The certificate of httptest is for example.com and all names below it.
	if _, err := api.List(t.Context()); err != nil || len(hosts) != 1 || hosts[0] != "sandbox.example.com:8443" {
		t.Errorf("asked %q, %v", hosts, err)
	}
	other := good
	other.Domain = "example.org:8443"
	if api, err := clientOf(other); err != nil {
		t.Error(err)
	} else if _, err := api.List(t.Context()); err == nil || !strings.Contains(err.Error(), "example.org") {
		t.Errorf("a certificate of another name: %v", err)
	}
	distrusted := good
	distrusted.Root = ""
	if api, err := clientOf(distrusted); err != nil {
		t.Error(err)
	} else if _, err := api.List(t.Context()); err == nil {
		t.Error("it trusts an authority that the system does not")
	}
	missing := good
	missing.Root = filepath.Join(t.TempDir(), "none")
	if _, err := clientOf(missing); err == nil {
		t.Error("no such file")
	}
}

func TestQuote(t *testing.T) {
	for _, word := range []string{"plain/path.pem", "with space", "it's", `$HOME "x"`, "`id`", "a\nb", ""} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+Quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q, %v", word, out, err)
		}
	}
}
