package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/envd"
)

// Answers of a guest's own server, which each of its clients gets.
const (
	endlessHeaders = `c.sendall(b"HTTP/1.1 200 OK\r\n")
        for i in range(4000): c.sendall(b"X-%d: " % i + b"x" * 4000 + b"\r\n")
        time.sleep(60)`
	silence = `time.sleep(60)`
	garbage = `c.sendall(b"\0HTTP/9.9 -1\r\nContent-Length: -5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"); c.close()`
)

// answering is an attack by a guest's server on its clients: fifty at once, without a
// key.
func answering(answer string) func(*attacker, context.Context) {
	return func(a *attacker, ctx context.Context) {
		sb, ok := a.sandbox(ctx, client.CreateOptions{})
		if !ok {
			return
		}
		go a.inside(ctx, sb, "user", `exec python3 -c '
import socket, threading, time
def serve(c):
    try:
        c.recv(65536)
        `+answer+`
    except OSError: pass
s = socket.socket(); s.bind(("0.0.0.0", 8000)); s.listen(200)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()'`)
		each(50, func(int) { a.visit(ctx, sb, 8000) })
	}
}

// visit asks a port of a sandbox until the time is up or it answers.
func (a *attacker) visit(ctx context.Context, sb client.Sandbox, port int) {
	for range 5 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.evil.URL+"/", nil)
		if err != nil {
			return
		}
		req.Header.Set(envd.SandboxIDHeader, sb.ID)
		req.Header.Set(envd.SandboxPortHeader, fmt.Sprint(port))
		a.send(req)
	}
}

// send reads a bounded part of the answer, whatever it is.
func (a *attacker) send(req *http.Request) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<20)
}

// request sends one to the API.
func (a *attacker) request(ctx context.Context, method, path, body string, header ...string) {
	req, err := http.NewRequestWithContext(ctx, method, a.evil.URL+path, strings.NewReader(body))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	a.send(req)
}

// dial opens connections until there are n or the server takes no more, and
// closes them at the end of the attack.
func (a *attacker) dial(ctx context.Context, n int, greet string) {
	host := strings.TrimPrefix(a.evil.URL, "http://")
	var all []net.Conn
	defer func() {
		for _, c := range all {
			c.Close()
		}
	}()
	for range n {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
		if err != nil {
			break
		}
		all = append(all, c)
		_, _ = io.WriteString(c, greet)
	}
	<-ctx.Done()
}

func (a *attacker) idleConnections(ctx context.Context) {
	a.dial(ctx, 300, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
}

func (a *attacker) slowRequests(ctx context.Context) {
	a.dial(ctx, 300, "POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
}

func (a *attacker) wrongKeys(ctx context.Context) {
	for i := range 500 {
		a.request(ctx, http.MethodGet, "/v2/sandboxes", "", "X-API-Key", fmt.Sprintf("e2b_%040x", i))
	}
}

func (a *attacker) wrongSignatures(ctx context.Context) {
	query := url.Values{"path": {strings.Repeat("a/", 20_000)}, "username": {"user"}, "signature": {"v1_x"}}
	for range 300 {
		a.request(ctx, http.MethodGet, "/files?"+query.Encode(), "")
	}
}

func (a *attacker) largeBodies(ctx context.Context) {
	deep := strings.Repeat("[", 1<<20)
	for range 10 {
		a.request(ctx, http.MethodPost, "/v2/sandboxes", deep, "X-API-Key", a.evil.Key)
		a.request(ctx, http.MethodPost, "/v2/sandboxes", `{"templateID":"`+strings.Repeat("x", 4<<20)+`"}`, "X-API-Key", a.evil.Key)
	}
}

// resetStreams begins requests of HTTP/2 and takes each back at once.
func (a *attacker) resetStreams(ctx context.Context) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(a.evil.URL, "http://"))
	if err != nil {
		return
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	go io.Copy(io.Discard, c)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return
	}
	f := http2.NewFramer(c, nil)
	if f.WriteSettings() != nil {
		return
	}
	// Indexed fields of HPACK's static table: GET, http, and /.
	fields := []byte{0x82, 0x86, 0x84, 0x41, 1, 'x'}
	for i := range uint32(20_000) {
		id := 2*i + 1
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fields, EndStream: true, EndHeaders: true}) != nil ||
			f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return
		}
	}
}

// fillQueue asks for more sandboxes at once than there is room for.
func (a *attacker) fillQueue(ctx context.Context) {
	each(30, func(int) {
		sb, ok := a.sandbox(ctx, client.CreateOptions{})
		if ok {
			a.must("kill "+sb.ID, a.evil.Kill(context.WithoutCancel(ctx), sb.ID))
		}
	})
}

// abandonCreates goes away before the answer. Whether a sandbox came of it is in
// the list.
func (a *attacker) abandonCreates(ctx context.Context) {
	mark := rand.Text()
	each(8, func(i int) {
		short, cancel := context.WithTimeout(ctx, time.Duration(i*20)*time.Millisecond)
		defer cancel()
		a.request(short, http.MethodPost, "/v2/sandboxes", `{"templateID":"base","timeout":30,"metadata":{"mark":"`+mark+`"}}`, "X-API-Key", a.evil.Key)
	})
	list, err := a.evil.List(context.WithoutCancel(ctx))
	if err != nil {
		a.must("list", err)
		return
	}
	for _, sb := range list {
		if sb.Metadata["mark"] == mark {
			a.own(sb.ID)
		}
	}
}

func (a *attacker) forks(ctx context.Context) {
	sb, ok := a.sandbox(ctx, client.CreateOptions{})
	if !ok {
		return
	}
	results, _ := a.evil.Fork(ctx, sb.ID, 10, attackLive)
	for _, r := range results {
		if r.Sandbox != nil {
			a.own(r.Sandbox.ID)
		}
	}
}

func (a *attacker) snapshots(ctx context.Context) {
	sb, ok := a.sandbox(ctx, client.CreateOptions{})
	if !ok || a.evil.Pause(ctx, sb.ID, true) != nil {
		return
	}
	for range 50 {
		s, err := a.evil.Snapshot(ctx, sb.ID, "")
		if err != nil {
			return
		}
		a.states = append(a.states, s.ID)
	}
}

func (a *attacker) idempotencyKeys(ctx context.Context) {
	for range 500 {
		a.request(ctx, http.MethodPost, "/v2/sandboxes", `{"templateID":"none"}`, "X-API-Key", a.evil.Key,
			"Idempotency-Key", rand.Text())
	}
}
