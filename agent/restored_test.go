//go:build linux

package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/envd"
)

// first and restored are the requests of a sandbox and of its copy.
var (
	first = envd.InitRequest{
		ControlToken: "c1", AccessToken: "a1", SandboxID: "i1", TemplateID: "t1", DefaultUser: "root", DefaultWorkdir: "/tmp",
		Env: map[string]string{"KEPT": "1", "CHANGED": "1"},
	}
	second = envd.InitRequest{
		CurrentToken: "c1", ControlToken: "c2", AccessToken: "a2", SandboxID: "i2", TemplateID: "t2", Restored: true,
		Env: map[string]string{"CHANGED": "2", "NEW": "2"},
	}
)

func bearer[T any](token string, msg *T) *connect.Request[T] {
	req := connect.NewRequest(msg)
	req.Header().Set("X-Access-Token", token)
	return req
}

func (g *guest) envs(t *testing.T, token string) string {
	t.Helper()
	_, text := g.do(t, "GET", "/envs", map[string]string{"X-Access-Token": token}, nil)
	return text
}

func TestARestoredAgentKeepsItsEnvironmentBelowTheRequests(t *testing.T) {
	g := newGuest(t)
	g.init(t, first)
	g.init(t, second)
	if got, want := g.envs(t, "a2"), `{"CHANGED":"2","E2B_SANDBOX":"true","E2B_SANDBOX_ID":"i2","E2B_TEMPLATE_ID":"t2","KEPT":"1","NEW":"2"}`; got != want {
		t.Errorf("the environment is %s, want %s", got, want)
	}
	out, _ := g.shell(t, "a2", "echo $KEPT$CHANGED$NEW; echo $USER; pwd")
	if out != "122\nroot\n/tmp\n" {
		t.Errorf("a process of the restored sandbox says %q", out)
	}
	// A resumed sandbox: the host says no more than what it stores.
	g.init(t, envd.InitRequest{CurrentToken: "c2", SandboxID: "i2", TemplateID: "t2", AccessToken: "a2", DefaultUser: "user", Restored: true})
	if out, _ := g.shell(t, "a2", "echo $KEPT$CHANGED$NEW; echo $USER"); out != "122\nuser\n" {
		t.Errorf("a process of the resumed sandbox says %q", out)
	}
}

// shell runs a command as the default user.
func (g *guest) shell(t *testing.T, token, script string) (out string, code int32) {
	t.Helper()
	stream, err := g.process.Start(t.Context(), bearer(token, &processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/sh", Args: []string{"-c", script}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
		out += string(stream.Msg().GetEvent().GetData().GetStdout())
		if end := stream.Msg().GetEvent().GetEnd(); end != nil {
			return out, end.GetExitCode()
		}
	}
	t.Fatal(stream.Err())
	return "", 0
}

// request sends a request over a connection that is kept.
func request(t *testing.T, conn net.Conn, token string) int {
	t.Helper()
	fmt.Fprintf(conn, "GET /envs HTTP/1.1\r\nHost: agent\r\nX-Access-Token: %s\r\n\r\n", token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func TestTheOldTokensAreRefusedAtOnce(t *testing.T) {
	for _, restored := range []bool{false, true} {
		t.Run(fmt.Sprint("restored ", restored), func(t *testing.T) {
			g := newGuest(t)
			g.init(t, first)
			kept, err := g.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer kept.Close()
			if status := request(t, kept, "a1"); status != 200 {
				t.Fatalf("before: %d", status)
			}
			next := second
			next.Restored = restored
			g.init(t, next)
			if restored {
				_ = kept.SetReadDeadline(time.Now().Add(time.Minute))
				if _, err := kept.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the kept connection is open: %v", err)
				}
			} else if status := request(t, kept, "a1"); status != 401 {
				t.Errorf("the old access token on a kept connection: %d", status)
			}
			if text := g.envs(t, "a1"); !strings.Contains(text, "401") {
				t.Errorf("the old access token: %s", text)
			}
			if err := envd.Init(t.Context(), g.dial, first); !errors.Is(err, envd.ErrUnauthorized) {
				t.Errorf("the old control token: %v", err)
			}
			if _, err := envd.DialPort(t.Context(), g.dial, "c1", 80); !errors.Is(err, envd.ErrUnauthorized) {
				t.Errorf("a port with the old control token: %v", err)
			}
			g.init(t, envd.InitRequest{ControlToken: "c2"})
		})
	}
}

func TestARestoredAgentEndsEveryConnectionButItsOwn(t *testing.T) {
	g := newGuest(t)
	g.init(t, first)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tunnel, err := envd.DialPort(t.Context(), g.dial, "c1", l.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.Close()
	inside, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	idle, err := g.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if status := request(t, idle, "a1"); status != 200 {
		t.Fatal(status)
	}
	watch, err := g.fs.WatchDir(t.Context(), bearer("a1", &filesystempb.WatchDirRequest{Path: g.home}))
	if err != nil || !watch.Receive() {
		t.Fatal(err, watch.Err())
	}
	defer watch.Close()
	process, err := g.process.Start(t.Context(), bearer("a1", &processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "sleep", Args: []string{"600"}},
	}))
	if err != nil || !process.Receive() {
		t.Fatal(err, process.Err())
	}
	defer process.Close()
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &h2}
	defer transport.CloseIdleConnections()
	pid := process.Msg().GetEvent().GetStart().GetPid()
	over2 := *g
	over2.client = &http.Client{Transport: transport}
	if resp, _ := over2.do(t, "GET", "/health", nil, nil); resp.ProtoMajor != 2 {
		t.Fatal(resp.Proto)
	}

	g.init(t, second) // answered, so its own connection was left alone

	ended := map[string]func() error{
		"idle connection": func() error { _, err := idle.Read(make([]byte, 1)); return err },
		"tunnel":          func() error { _, err := tunnel.Read(make([]byte, 1)); return err },
		"tunnel's port":   func() error { _, err := inside.Read(make([]byte, 1)); return err },
		"watch": func() error {
			for watch.Receive() {
			}
			return watch.Err()
		},
		"process stream": func() error {
			for process.Receive() {
			}
			return process.Err()
		},
	}
	for what, read := range ended {
		done := make(chan error, 1)
		go func() { done <- read() }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: ended without an error", what)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: still open", what)
		}
	}
	// The process itself lives on, and a client can come back to it.
	again, err := g.process.Connect(t.Context(), bearer("a2", &processpb.ConnectRequest{
		Process: &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Pid{Pid: pid}},
	}))
	if err != nil || !again.Receive() || again.Msg().GetEvent().GetStart().GetPid() != pid {
		t.Fatal(err, again.Err())
	}
	again.Close()
	if resp, _ := over2.do(t, "GET", "/health", nil, nil); resp.StatusCode != 204 {
		t.Error(resp.Status)
	}
}

// A client that is stuck holds up the process until every buffer on the way is
// full; the restored agent must let go of it at once, not when it gives up.
func TestAProcessOfAStuckClientGoesOnInARestoredAgent(t *testing.T) {
	g := newGuest(t)
	g.init(t, first)
	progress := t.TempDir() + "/progress"
	script := fmt.Sprintf(`n=0; while :; do head -c 1048576 /dev/urandom; n=$((n+1)); echo $n > %s.new; mv %s.new %s; done`, progress, progress, progress)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := g.process.Start(ctx, bearer("a1", &processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/sh", Args: []string{"-c", script}},
	}))
	if err != nil || !stream.Receive() {
		t.Fatal(err)
	}
	defer stream.Close()
	count := func() int {
		text, _ := os.ReadFile(progress)
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return n
	}
	stuck, polls := 0, 0
	eventually(t, "the process being held up", func() bool {
		if now := count(); now != stuck {
			stuck, polls = now, 0
		}
		polls++
		return stuck > 0 && polls > 200
	})
	g.init(t, second)
	eventually(t, "the process going on", func() bool { return count() > stuck+64 })
}
