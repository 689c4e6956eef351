package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// services are an echo of all that came, and a web server with WebSockets. Both listen on the sandbox's
// loopback only.
const services = `
import asyncio, base64, hashlib, sys
async def echo(r, w):
    data = await r.read()
    w.write(b"echo " + data)
    w.close()
async def web(r, w):
    line, *fields = (await r.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    h = {k.lower(): v for k, _, v in (f.partition(": ") for f in fields)}
    if h.get("upgrade") == "websocket":
        key = h["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        w.write(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        size = (await r.readexactly(2))[1] & 127
        mask = await r.readexactly(4)
        data = bytes(c ^ mask[i % 4] for i, c in enumerate(await r.readexactly(size)))
        w.write(bytes([0x81, size]) + data)
    else:
        body = f"{line} below {h.get('x-forwarded-prefix')}".encode()
        w.write(f"HTTP/1.1 302 Found\r\nLocation: /next\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    w.close()
async def main():
    await asyncio.start_server(echo, "127.0.0.1", 7000)
    await asyncio.start_server(web, "127.0.0.1", 8000)
    open("ready", "w").write("x")
    await asyncio.Event().wait()
asyncio.run(main())
`

// startServices runs services in a sandbox.
func startServices(t *testing.T, api client.API, sb client.Sandbox) {
	t.Helper()
	err := upload(t.Context(), api, sb, "/home/user/services.py", services)
	if err == nil {
		_, err = run(t.Context(), api, sb, "setsid python3 services.py >services.log 2>&1 </dev/null & until [ -s ready ]; do sleep 0.05; done")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// portForward runs the command for ports of a sandbox, any local ones, and returns the address of each, its
// standard error, and a function that ends it with Ctrl-C.
func portForward(t *testing.T, env []string, id string, ports ...int) (address map[int]string, errs *bufio.Reader, stop func()) {
	t.Helper()
	args := []string{"--json", "sandbox", "port-forward", id}
	for _, port := range ports {
		args = append(args, fmt.Sprintf("0:%d", port))
	}
	cmd := user.commandContext(t.Context(), os.Getenv(binEnv), args...)
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	errs = bufio.NewReader(stderr)
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		rest, _ := io.ReadAll(errs)
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 130 {
			t.Errorf("port-forward ended with %v\n%s", err, rest)
		}
	})
	t.Cleanup(stop)
	address = map[int]string{}
	lines := json.NewDecoder(out)
	for range ports {
		var one struct {
			Address string
			Port    int
		}
		if err := lines.Decode(&one); err != nil {
			rest, _ := io.ReadAll(errs)
			t.Fatalf("port-forward: %v\n%s", err, rest)
		}
		address[one.Port] = one.Address
	}
	return address, errs, stop
}

// say sends text and the end of it, and returns what comes back.
func say(ctx context.Context, dial func(context.Context) (net.Conn, error), text string) (string, error) {
	c, err := dial(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(hangs)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	return string(all), err
}

func toAddress(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
}

// TestPortsByPathAndTunnel reaches programs on a sandbox's loopback in all ways that need no name.
func TestPortsByPathAndTunnel(t *testing.T) {
	n := newNode(t)
	ctx := t.Context()
	sb, err := n.api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: live, Pause: true, AutoResume: true})
	if err != nil {
		t.Fatal(err)
	}
	startServices(t, n.api, sb)
	t.Run("path", func(t *testing.T) { byPath(t, n.api, sb) })
	t.Run("WebSocket by path", func(t *testing.T) { webSocketByPath(t, n.api, sb) })

	tunnel := func(ctx context.Context) (net.Conn, error) { return n.api.DialPort(ctx, sb.ID, 7000) }
	large := strings.Repeat("0123456789abcdef", 1<<16)
	if got, err := say(ctx, tunnel, large); err != nil || got != "echo "+large {
		t.Errorf("a tunnel returned %d bytes, %v", len(got), err)
	}
	address, errs, stop := portForward(t, n.srv.cmd.Env, sb.ID, 7000, 7001)
	for range 3 {
		if got, err := say(ctx, toAddress(address[7000]), "hello"); err != nil || got != "echo hello" {
			t.Errorf("a forwarded port returned %q, %v", got, err)
		}
	}
	if got, err := say(ctx, toAddress(address[7001]), "hello"); err == nil {
		t.Errorf("a closed port returned %q", got)
	}
	if line, err := errs.ReadString('\n'); err != nil || !strings.Contains(line, "port is not open") {
		t.Errorf("the command said %q, %v", line, err)
	}

	// A pause breaks a tunnel off, and the next one resumes the sandbox.
	held, err := tunnel(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := n.api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	_ = held.SetReadDeadline(time.Now().Add(hangs))
	if _, err := io.ReadAll(held); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a tunnel into a paused sandbox ended with %v", err)
	}
	if got, err := say(ctx, toAddress(address[7000]), "again"); err != nil || got != "echo again" {
		t.Errorf("after a pause a forwarded port returned %q, %v", got, err)
	}

	killAll(t, n.api, []client.Sandbox{sb})
	if got, err := say(ctx, toAddress(address[7000]), "hello"); err == nil {
		t.Errorf("a sandbox that was killed returned %q", got)
	}
	if line, err := errs.ReadString('\n'); err != nil || !strings.Contains(line, "The sandbox was not found") {
		t.Errorf("the command said %q, %v", line, err)
	}
	stop()
	n.finish(t)
}

func byPath(t *testing.T, api client.API, sb client.Sandbox) {
	prefix := "/sandbox-proxy/" + sb.ID + "/ports/8000"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL+prefix+"/a%2Fb?q=1;2", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := "GET /a%2Fb?q=1;2 HTTP/1.1 below " + prefix; err != nil || string(body) != want || resp.Header.Get("Location") != prefix+"/next" || resp.Header.Get("Set-Cookie") != "a=b; Path="+prefix {
		t.Errorf("%s %v\n%s, %v", resp.Status, resp.Header, body, err)
	}
}

func webSocketByPath(t *testing.T, api client.API, sb client.Sandbox) {
	c, err := net.Dial("tcp", strings.TrimPrefix(api.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(hangs))
	fmt.Fprintf(c, "GET /sandbox-proxy/%s/ports/8000/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", sb.ID)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v, %v", resp, err)
	}
	// A text, masked with zeros.
	if _, err := io.WriteString(c, "\x81\x85\x00\x00\x00\x00hello"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "\x81\x05hello" {
		t.Errorf("%q, %v", got, err)
	}
}
