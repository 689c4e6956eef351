package e2e

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/client"
)

// overTLS are the SDKs and the cases that run with a domain, and nothing else, as the only
// way to the server.
var overTLS = []struct {
	suite suite
	files []string
}{
	{suite{"npm", "2.51.0"}, []string{"js/tls.mjs"}},
	{suite{"pypi", "2.63.0"}, []string{"python/test_commands.py", "python/test_async.py", "python/tls.py"}},
}

// With certificates of its authority and its DNS server, a daemon is reached by E2B_DOMAIN
// and the files to trust.
func TestSDKOverTLS(t *testing.T) {
	if os.Getenv(stageEnv) != stageTests {
		t.Skipf("%s is not set: run make e2e", binEnv)
	}
	dir := t.TempDir()
	useNameServer(t, "127.0.0.1")
	before := takeStock(t)
	srv, transport, port := startNamed(t, dir)
	address := strings.TrimPrefix(apiURL, "http://")
	env := srv.sdkEnv
	ids := filepath.Join(dir, "sandbox-ids")
	if err := os.WriteFile(ids, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range overTLS {
		t.Run(c.suite.name(), func(t *testing.T) {
			c.suite.run(t, append(env, "E2E_IDS="+ids), c.files)
			if t.Failed() {
				t.Log(srv.logTail())
			}
		})
	}
	t.Run("command line", func(t *testing.T) { commandsOverTLS(t, srv, port) })
	t.Run("ports", func(t *testing.T) {
		api := client.API{URL: "https://" + address, Key: valueOf(env, "E2B_API_KEY"), HTTP: &http.Client{Transport: transport}}
		portsOverTLS(t, srv, api)
	})
	checkSandboxesGone(t, dir, ids)
	srv.stop(t)
	before.compare(t)
}

// startNamed starts a daemon with certificates of its authority and its DNS server. It returns when the daemon answers, with
// the variables by which the SDKs reach it, a transport that trusts it, and its port. The caller stops the daemon.
func startNamed(t *testing.T, dir string, flags ...string) (*server, *http.Transport, string) {
	t.Helper()
	address := strings.TrimPrefix(apiURL, "http://")
	_, port, _ := strings.Cut(address, ":")
	srv := launchServer(t, dir, nil, append([]string{"--tls=local", "--domain=e2b.localhost:" + port, "--dns=127.0.0.1:53"}, flags...)...)
	// Whom it trusts is the matter of the SDKs.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	if err := srv.waitServing("https://"+address, transport); err != nil {
		t.Fatalf("the server is not ready: %v\n%s", err, srv.logTail())
	}
	var err error
	if srv.sdkEnv, err = sdkEnv(srv.cmd.Env, "E2B_API_KEY=e2b_", "E2B_DOMAIN=e2b.localhost:"+port, "NODE_EXTRA_CA_CERTS=", "SSL_CERT_FILE="); err != nil {
		t.Fatalf("rundlet env: %v\n%s", err, srv.logTail())
	}
	return srv, transport, port
}

// commandsOverTLS uses the commands for this host, and makes it trust the authority for a while.
func commandsOverTLS(t *testing.T, srv *server, port string) {
	for _, dir := range []string{"/etc/ssl/certs", "/usr/local/share/ca-certificates"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
	}
	run := func(argv ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = srv.cmd.Env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	page := "import urllib.request; print(urllib.request.urlopen('https://api.e2b.localhost:" + port + "/health').status)"
	for _, step := range []struct {
		argv  []string
		works bool
		says  string
	}{
		{[]string{os.Getenv(binEnv), "sandbox", "ls"}, true, "ID"},
		{[]string{os.Getenv(binEnv), "tls", "show"}, true, "e2b.localhost"},
		{[]string{"python3", "-c", page}, false, "CERTIFICATE_VERIFY_FAILED"},
		{[]string{os.Getenv(binEnv), "tls", "trust"}, true, "trusts"},
		{[]string{"python3", "-c", page}, true, "200"},
		{[]string{os.Getenv(binEnv), "tls", "trust", "--remove"}, true, "no longer trusts"},
		{[]string{"python3", "-c", page}, false, "CERTIFICATE_VERIFY_FAILED"},
	} {
		if out, err := run(step.argv...); (err == nil) != step.works || !strings.Contains(out, step.says) {
			t.Errorf("%v: %v\n%s", step.argv, err, out)
		}
	}
}

// portsOverTLS reaches a sandbox's loopback by the command, which trusts the authority.
func portsOverTLS(t *testing.T, srv *server, api client.API) {
	sb, err := api.Create(t.Context(), "base", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	startServices(t, api, sb)
	address, _, stop := portForward(t, srv.cmd.Env, sb.ID, 7000)
	if got, err := say(t.Context(), toAddress(address[7000]), "hello"); err != nil || got != "echo hello" {
		t.Errorf("a forwarded port returned %q, %v", got, err)
	}
	stop()
	killAll(t, api, []client.Sandbox{sb})
}

// valueOf is the value of a variable.
func valueOf(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// useNameServer makes programs of this mount namespace ask a name server, until the test ends.
func useNameServer(t *testing.T, address string) {
	t.Helper()
	place := "/etc/resolv.conf"
	if link, err := os.Readlink(place); err == nil { // It leads into /run, which is empty here.
		if !filepath.IsAbs(link) {
			link = filepath.Join("/etc", link)
		}
		place = link
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := os.OpenFile(place, os.O_CREATE|os.O_RDONLY, 0o644); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+address+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, place, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
