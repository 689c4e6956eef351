package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// hangs is how long a connection within a sandbox may take. One that a socket
// from before a restore swallows takes a minute.
const hangs = 20 * time.Second

const loopbackServer = `
import socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1)
        self.request.sendall(b"x")  # And is closed here: the client comes second.
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", 8000), Handler)
open(sys.argv[1], "w").write("ready")
server.serve_forever()
`

// loopbackClient prints how many connections it made, and each that failed.
const loopbackClient = `
import socket, sys
n, limit, failed = int(sys.argv[1]), float(sys.argv[2]), []
for done in range(n):
    try:
        with socket.create_connection(("127.0.0.1", 8000), timeout=limit) as s:
            s.sendall(b"x")
            while s.recv(16):
                pass
    except OSError as e:
        failed.append("connection %d: %r" % (done, e))
        if len(failed) == 3:
            break
print("\n".join(failed + [str(n - len(failed)) if len(failed) < 3 else "gave up"]))
`

// localhost serves by its name and is reached by both families.
const localhost = `python3 -c '
import asyncio
async def main():
    async with await asyncio.start_server(lambda r, w: w.close(), "localhost", 8001):
        for host in ("::1", "127.0.0.1"):
            (await asyncio.open_connection(host, 8001))[1].close()
asyncio.run(main())'`

// TestLoopbackConnectionsNeverHangAfterARestore makes short connections within
// a sandbox before and after pauses, and in both sides of a fork.
func TestLoopbackConnectionsNeverHangAfterARestore(t *testing.T) {
	connections, pauses := 1500, 2
	if *soak {
		connections, pauses = 10_000, 20
	}
	n := newNode(t)
	ctx := t.Context()
	sb, err := n.api.Create(ctx, "base", live)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"server.py": loopbackServer, "client.py": loopbackClient} {
		if err := upload(ctx, n.api, sb, "/home/user/"+name, content); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := run(ctx, n.api, sb, "setsid python3 server.py ready >server.log 2>&1 </dev/null & until [ -s ready ]; do sleep 0.05; done"); err != nil {
		t.Fatal(err)
	}
	made := 0
	connect := func(when string, sb client.Sandbox, count int) {
		t.Helper()
		out, err := run(ctx, n.api, sb, fmt.Sprintf("python3 client.py %d %g", count, hangs.Seconds()))
		if err != nil || strings.TrimSpace(out) != fmt.Sprint(count) {
			t.Fatalf("%s: of %d connections: %v\n%s", when, count, err, out)
		}
		if _, err := run(ctx, n.api, sb, localhost); err != nil {
			t.Errorf("%s: localhost: %v", when, err)
		}
		made += count
	}
	connect("before all pauses", sb, connections)
	for i := range pauses {
		if err := n.api.Pause(ctx, sb.ID, true); err != nil {
			t.Fatal(err)
		}
		if sb, _, err = n.api.Connect(ctx, sb.ID, live); err != nil {
			t.Fatal(err)
		}
		connect(fmt.Sprintf("after pause %d", i), sb, 500)
	}
	children, err := fork(ctx, n.api, sb, 1)
	if err != nil {
		t.Fatal(err)
	}
	connect("in the fork", children[0], connections)
	connect("in the source of the fork", sb, connections)
	record(t, "loopback connections", map[string]any{"connections": made, "pauses": pauses, "hung": 0})
	killAll(t, n.api, append(children, sb))
	n.finish(t)
}

// TestATimeoutDoesNotPassDuringAPause pauses a sandbox for longer than a timer
// in it has.
func TestATimeoutDoesNotPassDuringAPause(t *testing.T) {
	const timer, gap = 3 * time.Second, 5 * time.Second
	n := newNode(t)
	ctx := t.Context()
	sb, err := n.api.Create(ctx, "base", live)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	// What sleep and timeout wait for is the wall clock, by its name.
	ways := []string{"time.sleep(%g)", "subprocess.run(['sleep', '%g'])", "subprocess.run(['timeout', '%g', 'sleep', '99'])"}
	script := "import subprocess, sys, time; t = time.monotonic(); open('started' + sys.argv[1], 'w').write('x'); %s; open('slept' + sys.argv[1], 'w').write(' %%f' %% (time.monotonic() - t))"
	for i, way := range ways {
		script := fmt.Sprintf(script, fmt.Sprintf(way, timer.Seconds()))
		if _, err := run(ctx, n.api, sb, fmt.Sprintf(`setsid python3 -c "%s" %d >errors 2>&1 </dev/null & until [ -s started%[2]d ]; do sleep 0.05; done`, script, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.api.Pause(ctx, sb.ID, true); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	<-time.After(gap)
	down := time.Since(paused)
	if sb, _, err = n.api.Connect(ctx, sb.ID, live); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	out, err := run(ctx, n.api, sb, "date +%s.%N; until [ -s slept0 ] && [ -s slept1 ] && [ -s slept2 ]; do sleep 0.05; done; cat slept?")
	most := (time.Since(start) - down).Seconds() + 0.1
	var wall float64
	slept := make([]float64, len(ways))
	if _, scanErr := fmt.Sscan(out, &wall, &slept[0], &slept[1], &slept[2]); err != nil || scanErr != nil {
		t.Fatalf("after the pause: %q, %v", out, err)
	}
	for i, slept := range slept {
		if slept < timer.Seconds() || slept > most {
			t.Errorf("%s of %v took %.2f s, and the sandbox ran for at most %.2f s", ways[i], timer, slept, most)
		}
	}
	if off := wall - float64(before.UnixNano())/1e9; off < -0.1 || off > time.Since(before).Seconds()+0.1 {
		t.Errorf("the wall clock is %.3f s off", off)
	}
	killAll(t, n.api, []client.Sandbox{sb})
	n.finish(t)
}
