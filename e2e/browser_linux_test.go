package e2e

import (
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/client"
)

// browserEnv names a Chromium; make browser sets it.
const browserEnv = "E2E_BROWSER"

// webSite is a page that opens a WebSocket to where it came from, and reports what came back.
const webSite = `
import asyncio, base64, hashlib
page = b"""<!doctype html><title>a page</title><script>
const socket = new WebSocket("wss://" + location.host + "/socket")
socket.onopen = () => socket.send("there and back")
socket.onmessage = (m) => fetch("/done?" + encodeURIComponent(m.data + " at " + location.host + " secure=" + isSecureContext))
socket.onerror = () => fetch("/done?error")
</script>"""
async def web(r, w):
    line, *fields = (await r.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    path = line.split(" ")[1]
    h = {k.lower(): v for k, _, v in (f.partition(": ") for f in fields)}
    if path == "/socket":
        key = h["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        w.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        size = (await r.readexactly(2))[1] & 127
        mask = await r.readexactly(4)
        data = bytes(c ^ mask[i % 4] for i, c in enumerate(await r.readexactly(size)))
        w.write(bytes([0x81, size]) + data)
        await r.read()
    else:
        if path.startswith("/done?"): open("done", "w").write(path)
        w.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
    w.close()
async def main():
    await asyncio.start_server(web, "127.0.0.1", 8000)
    open("ready", "w").write("x")
    await asyncio.Event().wait()
asyncio.run(main())
`

// A browser that knows the authority from "rundlet tls trust" opens the page of a sandbox by its name, and the page a
// WebSocket.
func TestABrowserOpensAPageAndItsWebSocket(t *testing.T) {
	browser := os.Getenv(browserEnv)
	if browser == "" {
		t.Skipf("%s is not set: run make browser", browserEnv)
	}
	dir := t.TempDir()
	address := strings.TrimPrefix(apiURL, "http://")
	_, port, _ := strings.Cut(address, ":")
	srv := launchServer(t, dir, nil, "--tls=local", "--domain=e2b.localhost:"+port)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	if err := srv.waitServing("https://"+address, transport); err != nil {
		t.Fatalf("the server is not ready: %v\n%s", err, srv.logTail())
	}
	env, err := sdkEnv(srv.cmd.Env, "E2B_API_KEY=e2b_", "E2B_DOMAIN=e2b.localhost:"+port, "NODE_EXTRA_CA_CERTS=", "SSL_CERT_FILE=")
	if err != nil {
		t.Fatal(err)
	}
	api := client.API{URL: "https://" + address, Key: valueOf(env, "E2B_API_KEY"), HTTP: &http.Client{Transport: transport}}
	sb, err := api.Create(t.Context(), "base", 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := upload(t.Context(), api, sb, "/home/user/site.py", webSite); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t.Context(), api, sb, "setsid python3 site.py >site.log 2>&1 </dev/null & until [ -s ready ]; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}

	for _, dir := range []string{"/etc/ssl/certs", "/usr/local/share/ca-certificates"} { // The host's own stay as they are.
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
	}
	home := filepath.Join(dir, "home")
	store := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	atHome := append(srv.cmd.Env, "HOME="+home)
	for _, argv := range [][]string{
		{"certutil", "-N", "-d", "sql:" + store, "--empty-password"},
		{os.Getenv(binEnv), "tls", "trust"},
	} {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = atHome
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	url := "https://8000-" + sb.ID + ".e2b.localhost:" + port + "/"
	cmd := exec.CommandContext(t.Context(), browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--remote-debugging-port=0", "--user-data-dir="+filepath.Join(dir, "profile"), url)
	cmd.Env = atHome
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	want := "/done?there%20and%20back%20at%208000-" + sb.ID + ".e2b.localhost%3A" + port + "%20secure%3Dtrue"
	until(t, "the page reports what came back", func() bool {
		out, err := run(t.Context(), api, sb, "cat done 2>/dev/null; true")
		if err != nil {
			t.Fatal(err)
		}
		if out != "" && out != want {
			t.Fatalf("it reports %q, want %q", out, want)
		}
		return out == want
	})
	if err := api.Kill(t.Context(), sb.ID); err != nil {
		t.Error(err)
	}
	srv.stop(t)
}
