package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

const (
	// bulk is the size of a large download and of a large upload, and bulkTLS that of those which cost the sandbox more.
	bulk, bulkTLS = 200 << 20, 50 << 20
	// parallel requests are fewer than gateway.OfGuest.
	parallel = 200
)

// programs are clients in Python, each with a line that says what came of it. Arguments: the program, a host, and what the program takes.
const programs = `
import base64, hashlib, http.client, os, socket, ssl, struct, sys, time, urllib.request
what, host, rest = sys.argv[1], sys.argv[2], sys.argv[3:]

def keepalive():
    "Requests over one connection, and the connections that the host has seen."
    for c in http.client.HTTPConnection(host), http.client.HTTPSConnection(host):
        seen = set()
        for _ in range(20):
            c.request("GET", "/connection")
            seen.add(c.getresponse().read())
        print(len(seen))
    for scheme in "http", "https":
        print(urllib.request.urlopen("%s://%s/" % (scheme, host)).read().decode())

def exactly(f, n):
    b = f.read(n)
    if len(b) != n: raise EOFError(what)
    return b

def websocket():
    "Messages of all three forms of length, there and back."
    for port in 80, 443:
        s = socket.create_connection((host, port), 20)
        if port == 443: s = ssl.create_default_context().wrap_socket(s, server_hostname=host)
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall(("GET /websocket HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (host, key)).encode())
        f, head = s.makefile("rb"), b""
        while not head.endswith(b"\r\n\r\n"): head += exactly(f, 1)
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        if not head.startswith(b"HTTP/1.1 101") or accept not in head: sys.exit(head)
        for n in 5, 300, 70000:
            data, mask = os.urandom(n), os.urandom(4)
            size = struct.pack(">B", 128 | n) if n < 126 else struct.pack(">BH", 128 | 126, n) if n < 65536 else struct.pack(">BQ", 128 | 127, n)
            masks = (mask * (n // 4 + 1))[:n]
            s.sendall(b"\x82" + size + mask + bytes(a ^ b for a, b in zip(data, masks)))
            back = b""
            while len(back) < n:
                n1 = exactly(f, 2)[1]
                n1 = struct.unpack(">H", exactly(f, 2))[0] if n1 == 126 else struct.unpack(">Q", exactly(f, 8))[0] if n1 == 127 else n1
                back += exactly(f, n1)
            if back != data: sys.exit("not what was sent")
        s.close()
        print("echoed")

def greeted():
    "A protocol in which the server speaks first, and the client ends its half."
    with socket.create_connection((host, int(rest[0])), 20) as s:
        f = s.makefile("rb")
        print(f.readline().decode().strip())
        s.sendall(b"x" * 1000000)
        s.shutdown(socket.SHUT_WR)
        print(f.read().decode())

def figures():
    "Look-ups, requests over new connections and over one, and bytes; to an address."
    address, n, size = rest[0], int(rest[1]), int(rest[2])
    def ask(c):
        c.request("GET", "/", headers={"Host": host})
        c.getresponse().read()
    def new():
        c = http.client.HTTPConnection(address)
        ask(c)
        c.close()
    def rate(do):
        begin = time.monotonic()
        for _ in range(n): do()
        return n / (time.monotonic() - begin)
    one = http.client.HTTPConnection(address)
    print("each %d times: look-ups %.0f/s, requests over new connections %.0f/s, over one %.0f/s;" % (
        n, rate(lambda: socket.gethostbyname(host)), rate(new), rate(lambda: ask(one))), end=" ")
    begin, got, b = time.monotonic(), 0, memoryview(bytearray(1 << 20))
    one.request("GET", "/bytes/%d" % size, headers={"Host": host})
    r = one.getresponse()
    while k := r.readinto(b): got += k
    print("%d MB, %.0f MB/s" % (got // 1000000, got / 1e6 / (time.monotonic() - begin)))

globals()[what]()
`

// What people run works in a sandbox that reaches a host by its name: through the gateway, and on another port. What it took of the
// daemon comes back.
func TestProgramsReachAHostByItsName(t *testing.T) {
	srv, api, dir := newServer(t)
	web := makeNames(t, func() { greet(t) })
	census := takeCensus(t, dir)
	ctx := t.Context()
	sb, err := api.CreateWith(ctx, client.CreateOptions{Template: "base", Timeout: 10 * time.Minute,
		Allow: []string{allowedHost, farAddr}, Deny: []string{"0.0.0.0/0"}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the host is reached", func() bool { return fetch(t, api, sb, allowedHost) == "internet" })
	for path, content := range map[string]string{"/home/user/programs.py": programs, "/home/user/root.pem": web.root} {
		if err := upload(ctx, api, sb, path, content); err != nil {
			t.Fatal(err)
		}
	}
	before := takeDaemon(t, srv)
	replace := strings.NewReplacer("HOST", allowedHost, "DATA", sum(someBytes(bulk)), "SECURE", sum(someBytes(bulkTLS))).Replace
	const trust = "set -o pipefail; export SSL_CERT_FILE=~/root.pem CURL_CA_BUNDLE=~/root.pem; "
	for _, c := range []struct{ name, command, want string }{
		{"a look-up", "getent hosts HOST | tr -s ' '; getent hosts " + forbiddenHost + " || echo none", internetAddr + " HOST\nnone\n"},
		{"HTTP/1.1", "curl -sS -w ' %{http_version}' http://HOST/", "internet 1.1"},
		{"HTTP/1.1 over TLS", "curl -sS --http1.1 -w ' %{http_version}' https://HOST/", "internet 1.1"},
		{"HTTP/2 over TLS", "curl -sS --http2 -w ' %{http_version}' https://HOST/", "internet 2"},
		{"connections that stay", "python3 programs.py keepalive HOST", "1\n1\ninternet\ninternet\n"},
		{"WebSockets", "python3 programs.py websocket HOST", "echoed\nechoed\n"},
		{"a server that speaks first", "python3 programs.py greeted HOST " + strconv.Itoa(greeterPort), "220 ready\n" + sum(strings.NewReader(strings.Repeat("x", 1_000_000))) + "\n"},
		{"a download and an upload", move("http", bulk), "DATA  -\nDATA"},
		{"a download and an upload over TLS", move("https", bulkTLS), "SECURE  -\nSECURE"},
		{"requests at once", atOnce("http"), fmt.Sprintf("%d 200\n", parallel)},
		{"requests at once over TLS", atOnce("https"), fmt.Sprintf("%d 200\n", parallel)},
	} {
		begin := time.Now()
		out, err := run(ctx, api, sb, trust+replace(c.command))
		if err != nil || out != replace(c.want) {
			t.Errorf("%s: %q, %v; want %q", c.name, out, err, replace(c.want))
		}
		t.Logf("%s: %v", c.name, ms(time.Since(begin)))
	}
	for _, address := range []string{internetAddr, farAddr} { // Through the gateway, and not, since the address is allowed.
		out, err := run(ctx, api, sb, fmt.Sprintf("python3 programs.py figures %s %s 300 %d", allowedHost, address, bulk))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s at %s: %s", allowedHost, address, strings.TrimSpace(out))
	}
	if bad := web.wrong(); len(bad) > 0 {
		t.Errorf("what is for other hosts arrives: %q", bad)
	}
	before.await(t, srv)
	killAll(t, api, []client.Sandbox{sb})
	// The way to the internet stays until the daemon ends: a link on the host.
	census["links"]++
	census["files in run"] += 2
	census.await(t, dir)
	srv.stop(t)
}

// move downloads a lot and uploads it at the same time. It prints the sums at both ends.
func move(scheme string, bytes int) string {
	const curl = "curl -sS -m 100 "
	return fmt.Sprintf("rm -f here there; %[1]s %[2]s://HOST/bytes/%[3]d | tee >(sha256sum >here) | %[1]s -T - -X POST %[2]s://HOST/sum >there; "+
		"until [ -s here ]; do sleep 0.01; done; cat here there", curl, scheme, bytes)
}

// atOnce counts the answers to many requests at the same time.
func atOnce(scheme string) string {
	return fmt.Sprintf(`curl -sS --http1.1 -m 60 -Z --parallel-immediate --parallel-max %d -o /dev/null -w '%%{http_code}\n' '%s://HOST/?[1-%d]' | sort | uniq -c | sed 's/^ *//'`,
		parallel, scheme, parallel)
}

// daemon is what a daemon has of what its gateway uses.
type daemon struct {
	files int
	bytes int64 // Of memory.
}

// moreBytes are what the heap may keep; see GOGC.
const moreBytes = 32 << 20

func takeDaemon(t *testing.T, srv *server) (d daemon) {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", srv.cmd.Process.Pid))
	if err == nil {
		d.bytes, err = srv.anonymous()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.files = len(files)
	return d
}

// anonymous is the memory of the daemon that no file is behind, in bytes.
func (s *server) anonymous() (n int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	_, err = fmt.Sscanf(rest, "%d kB", &n)
	return n << 10, err
}

// collected is when memory is given back to the host that a daemon without work does not use any more: Go collects garbage every
// two minutes then.
const collected = 6 * time.Minute

// await waits until the daemon has no more than before.
func (before daemon) await(t *testing.T, srv *server) {
	t.Helper()
	var after daemon
	awaitFor(t, collected, func() (wrong []string, err error) {
		if after = takeDaemon(t, srv); after.files > before.files || after.bytes > before.bytes+moreBytes {
			wrong = append(wrong, fmt.Sprintf("the daemon had %+v before, and has %+v", before, after))
		}
		return wrong, nil
	})
	t.Logf("the daemon had %+v before, and has %+v", before, after)
}
