package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
)

// idler is a server of WebSockets that answers pings.
const idler = `
import asyncio, base64, hashlib
async def serve(r, w):
    try:
        head = (await r.readuntil(b"\r\n\r\n")).split(b"\r\n")
        key = [line.split(b":", 1)[1].strip() for line in head if line.lower().startswith(b"sec-websocket-key:")][0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        w.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while True:
            kind, size = await r.readexactly(2)
            mask = await r.readexactly(4)
            data = await r.readexactly(size & 127)
            if kind == 0x89: w.write(bytes([0x8A, len(data)]) + bytes(c ^ mask[i % 4] for i, c in enumerate(data)))
    except (asyncio.IncompleteReadError, ConnectionError): pass
    finally: w.close()
async def main():
    await asyncio.start_server(serve, "0.0.0.0", 8000, backlog=1000)
    open("ready", "w").write("x")
    await asyncio.Event().wait()
asyncio.run(main())
`

const idlerPort = 8000

// webSocket is the client's end of one.
type webSocket struct {
	net.Conn
	in *bufio.Reader
}

// openWebSocket connects to a port of a sandbox through the server.
func openWebSocket(ctx context.Context, api client.API, sb client.Sandbox, port int) (*webSocket, error) {
	host := strings.TrimPrefix(api.URL, "http://")
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	w := &webSocket{c, bufio.NewReaderSize(c, 512)}
	var key [16]byte
	rand.Read(key[:])
	_ = c.SetDeadline(time.Now().Add(goodRequest))
	_, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n%s: %d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		host, envd.SandboxIDHeader, sb.ID, envd.SandboxPortHeader, port, base64.StdEncoding.EncodeToString(key[:]))
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(w.in, nil)
	}
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return w, c.SetDeadline(time.Time{})
}

// ping waits for the answer to a ping of eight bytes.
func (w *webSocket) ping() error {
	var data [8]byte
	rand.Read(data[:])
	_ = w.SetDeadline(time.Now().Add(goodRequest))
	if _, err := w.Write(append([]byte{0x89, 0x80 | byte(len(data)), 0, 0, 0, 0}, data[:]...)); err != nil {
		return err
	}
	var pong [2 + len(data)]byte
	for i := range pong {
		b, err := w.in.ReadByte()
		if err != nil {
			return err
		}
		pong[i] = b
	}
	if want := append([]byte{0x8A, byte(len(data))}, data[:]...); string(pong[:]) != string(want) {
		return fmt.Errorf("the pong is %x, want %x", pong, want)
	}
	return w.SetDeadline(time.Time{})
}

// raiseDescriptors lets this process and those that it starts have so many files, or as many as the machine allows, until the test ends. It
// returns how many.
func raiseDescriptors(t *testing.T, n uint64) uint64 {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: was.Cur, Max: max(n, was.Max)}); err != nil {
			t.Error(err)
		}
	})
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, was.Max)})
	if errors.Is(err, unix.EPERM) { // Root without CAP_SYS_RESOURCE, as in some containers.
		n = min(n, was.Max)
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max})
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// daemonPSS is the proportional share of memory of the daemon, in KiB.
func daemonPSS(t *testing.T, srv *server) (kib int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", srv.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nPss:")
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

// manyAtOnce bounds the calls under way for many connections or sandboxes.
const manyAtOnce = 64

// forAll calls f for 0 to n-1, many at once, and returns how many failed and some of the errors.
func forAll(n, atOnce int, f func(i int) error) (failed int, err error) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	var mu sync.Mutex
	for i := range n {
		group.Go(func() error {
			if one := f(i); one != nil {
				mu.Lock()
				defer mu.Unlock()
				if failed++; failed <= 10 {
					err = errors.Join(err, one)
				}
			}
			return nil
		})
	}
	_ = group.Wait()
	return failed, err
}

// TestIdleWebSocketsStay opens WebSockets to many sandboxes and leaves them alone, in the long form for longer than an idle connection of HTTP
// is kept. Each of them answers a ping before and after that. What they took of the daemon comes back.
func TestIdleWebSocketsStay(t *testing.T) {
	sandboxes, each, idle := 3, 30, time.Second
	if *soak {
		sandboxes, each, idle = 100, 100, 11*time.Minute
	}
	if *duration > 0 {
		idle = *duration
	}
	// A quarter of the files are streams into sandboxes, and three quarters of those for one key: see docs/limits.md. The rest of
	// them are for the agents.
	files := raiseDescriptors(t, 65536)
	if room := int(files/4) * 3 / 4 * 19 / 20; sandboxes*each > room {
		t.Logf("the limit of %d files allows %d WebSockets, not %d", files, room, sandboxes*each)
		each = room / sandboxes
	}
	srv, api, dir := newServer(t)
	census := takeCensus(t, dir)
	all := make([]client.Sandbox, sandboxes)
	if failed, err := forAll(sandboxes, 4, func(i int) (err error) {
		if all[i], err = api.Create(t.Context(), "base", live); err == nil {
			err = upload(t.Context(), api, all[i], "/home/user/idler.py", idler)
		}
		if err == nil {
			_, err = run(t.Context(), api, all[i], "setsid python3 idler.py >idler.log 2>&1 </dev/null & until [ -s ready ]; do sleep 0.05; done")
		}
		return err
	}); failed > 0 {
		t.Fatal(err)
	}
	before, pss := takeDaemon(t, srv), daemonPSS(t, srv)

	sockets := make([]*webSocket, sandboxes*each)
	begin := time.Now()
	failed, err := forAll(len(sockets), manyAtOnce, func(i int) (err error) {
		sockets[i], err = openWebSocket(t.Context(), api, all[i%sandboxes], idlerPort)
		return err
	})
	if failed > 0 {
		t.Fatalf("%d of %d were not opened: %v", failed, len(sockets), err)
	}
	opened, open := time.Since(begin), daemonPSS(t, srv)
	var slowest atomic.Int64
	pingAll := func() (lost int) {
		lost, err := forAll(len(sockets), manyAtOnce, func(i int) error {
			begin := time.Now()
			err := sockets[i].ping()
			for took, most := int64(time.Since(begin)), slowest.Load(); took > most && !slowest.CompareAndSwap(most, took); {
				most = slowest.Load()
			}
			return err
		})
		if lost > 0 {
			t.Errorf("%d of %d did not answer: %v", lost, len(sockets), err)
		}
		return lost
	}
	lost := pingAll()
	pinged := daemonPSS(t, srv)
	<-time.After(idle)
	idled := daemonPSS(t, srv)
	lost += pingAll()
	again := daemonPSS(t, srv)
	taken := takeDaemon(t, srv).files - before.files
	for _, s := range sockets {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	closed := time.Now()
	before.await(t, srv)
	perSocket := func(kib int) float64 { return float64(kib-pss) / float64(len(sockets)) }
	record(t, "idle WebSockets", map[string]any{
		"sandboxes": sandboxes, "sockets": len(sockets), "file_limit": files, "lost": lost, "idle_seconds": idle.Seconds(), "opened_seconds": opened.Seconds(),
		"daemon_kib_before": pss, "kib_each_opened": perSocket(open), "kib_each_pinged": perSocket(pinged), "kib_each_idle": perSocket(idled),
		"kib_each_pinged_again": perSocket(again), "files_each": float64(taken) / float64(len(sockets)),
		"slowest_ping_ms": time.Duration(slowest.Load()).Milliseconds(), "daemon_kib_closed": daemonPSS(t, srv), "given_back_seconds": time.Since(closed).Seconds(), "load": load(),
	})
	killAll(t, api, all)
	census.await(t, dir)
	srv.stop(t)
}
