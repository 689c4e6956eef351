//go:build linux

package agent_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/envd"
)

// codecs runs a test in both codecs that clients use.
func codecs(t *testing.T, f func(t *testing.T, g *guest)) {
	for name, opts := range map[string][]connect.ClientOption{"json": {connect.WithProtoJSON()}, "binary": nil} {
		t.Run(name, func(t *testing.T) { f(t, newGuest(t, opts...)) })
	}
}

func shell(script string) *processpb.StartRequest {
	off := false
	return &processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/sh", Args: []string{"-c", script}},
		Stdin:   &off,
	}
}

// result is a whole event stream.
type result struct {
	pid                  uint32
	stdout, stderr, term string
	keepalives, maxChunk int
	end                  *processpb.ProcessEvent_EndEvent
}

func (r *result) add(ev *processpb.ProcessEvent) {
	switch e := ev.GetEvent().(type) {
	case *processpb.ProcessEvent_Start:
		r.pid = e.Start.GetPid()
	case *processpb.ProcessEvent_Data:
		r.stdout += string(e.Data.GetStdout())
		r.stderr += string(e.Data.GetStderr())
		r.term += string(e.Data.GetPty())
		r.maxChunk = max(r.maxChunk, len(e.Data.GetStdout()), len(e.Data.GetPty()))
	case *processpb.ProcessEvent_Keepalive:
		r.keepalives++
	case *processpb.ProcessEvent_End:
		r.end = e.End
	}
}

func (g *guest) start(t *testing.T, user string, req *processpb.StartRequest) (*connect.ServerStreamForClient[processpb.StartResponse], *result) {
	t.Helper()
	s, err := g.process.Start(t.Context(), as(user, req))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &result{}
	if !s.Receive() {
		t.Fatalf("no start event: %v", s.Err())
	}
	r.add(s.Msg().GetEvent())
	if r.pid == 0 {
		t.Fatalf("first event is %v", s.Msg())
	}
	return s, r
}

func (g *guest) run(t *testing.T, user string, req *processpb.StartRequest) *result {
	t.Helper()
	s, r := g.start(t, user, req)
	drain(t, s, r)
	return r
}

func drain(t *testing.T, s *connect.ServerStreamForClient[processpb.StartResponse], r *result) {
	t.Helper()
	for s.Receive() {
		r.add(s.Msg().GetEvent())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	if r.end == nil {
		t.Fatal("stream ended without an end event")
	}
}

func pid(p uint32) *processpb.ProcessSelector {
	return &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Pid{Pid: p}}
}

func TestStart(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		g.init(t, envd.InitRequest{
			ControlToken: "c", SandboxID: "isandbox", TemplateID: "tmpl",
			Env: map[string]string{"A": "sandbox", "B": "sandbox", "HOME": "/"},
		})
		home := shell("echo $A $B $HOME; pwd")
		home.Process.Envs = map[string]string{"B": "request", "HOME": g.home}
		cwd := "sub/dir"
		if err := os.MkdirAll(g.home+"/"+cwd, 0o777); err != nil {
			t.Fatal(err)
		}
		relative := shell("pwd")
		relative.Process.Cwd = &cwd
		bare := &processpb.StartRequest{Process: &processpb.ProcessConfig{Cmd: "echo", Args: []string{"a b"}}}
		for _, tc := range []struct {
			name, user     string
			req            *processpb.StartRequest
			stdout, stderr string
			code           int32
			status, errmsg string
		}{
			{"output and code", "user", shell("echo out; echo err >&2; exit 3"), "out\n", "err\n", 3, "exit status 3", "exit status 3"},
			{"success has no error", "user", shell("true"), "", "", 0, "exit status 0", ""},
			{"user and groups", "user", shell("id -u; id -g; id -G"), "65534\n65534\n65534 4242\n", "", 0, "exit status 0", ""},
			{"root", "root", shell("id -u"), "0\n", "", 0, "exit status 0", ""},
			{"default user", "", shell("id -u"), "65534\n", "", 0, "exit status 0", ""},
			{"environment order", "user", home, "sandbox request " + g.home + "\n" + g.home + "\n", "", 0, "exit status 0", ""},
			{"sandbox variables", "user", shell("echo $E2B_SANDBOX $E2B_SANDBOX_ID $E2B_TEMPLATE_ID $USER $LOGNAME"), "true isandbox tmpl user user\n", "", 0, "exit status 0", ""},
			{"relative cwd", "user", relative, g.home + "/sub/dir\n", "", 0, "exit status 0", ""},
			{"command from PATH", "user", bare, "a b\n", "", 0, "exit status 0", ""},
			{"empty stdin", "user", shell("cat; echo eof"), "eof\n", "", 0, "exit status 0", ""},
			{"signal", "user", shell("kill -9 $$"), "", "", -1, "signal: killed", "signal: killed"},
			{"SIGPIPE has its default", "user", shell("yes | head -1; trap"), "y\n", "", 0, "exit status 0", ""},
		} {
			t.Run(tc.name, func(t *testing.T) {
				r := g.run(t, tc.user, tc.req)
				if r.stdout != tc.stdout || r.stderr != tc.stderr {
					t.Errorf("stdout %q stderr %q, want %q %q", r.stdout, r.stderr, tc.stdout, tc.stderr)
				}
				if r.end.GetExitCode() != tc.code || r.end.GetStatus() != tc.status || r.end.GetError() != tc.errmsg || r.end.GetExited() != (tc.code >= 0) {
					t.Errorf("end %v", r.end)
				}
			})
		}
	})
}

func TestStartErrors(t *testing.T) {
	g := newGuest(t)
	missing := "/no/such/dir"
	file := g.root + "/etc/passwd"
	bad := func(change func(*processpb.ProcessConfig)) *processpb.StartRequest {
		r := shell("true")
		change(r.Process)
		return r
	}
	for _, tc := range []struct {
		name, user string
		req        *processpb.StartRequest
		code       connect.Code
		text       string
	}{
		{"unknown user", "root123", shell("true"), connect.CodeUnauthenticated, "invalid username: 'root123'"},
		{"missing cwd", "user", bad(func(c *processpb.ProcessConfig) { c.Cwd = &missing }), connect.CodeInvalidArgument, "cwd '/no/such/dir' does not exist"},
		{"cwd is a file", "user", bad(func(c *processpb.ProcessConfig) { c.Cwd = &file }), connect.CodeInvalidArgument, ""},
		{"no command", "user", &processpb.StartRequest{}, connect.CodeInvalidArgument, ""},
		{"zero byte", "user", bad(func(c *processpb.ProcessConfig) { c.Args = []string{"a\x00b"} }), connect.CodeInvalidArgument, ""},
		{"huge argument", "user", bad(func(c *processpb.ProcessConfig) { c.Args = []string{strings.Repeat("x", 1<<20)} }), connect.CodeInvalidArgument, "fork/exec /bin/sh: argument list too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := g.process.Start(t.Context(), as(tc.user, tc.req))
			if err == nil {
				for s.Receive() {
				}
				err = s.Err()
				s.Close()
			}
			wantCode(t, err, tc.code, tc.text)
		})
	}
	if list := g.list(t); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func (g *guest) list(t *testing.T) []*processpb.ProcessInfo {
	t.Helper()
	resp, err := g.process.List(t.Context(), connect.NewRequest(&processpb.ListRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg.GetProcesses()
}

func TestOOMScore(t *testing.T) {
	g := newGuest(t)
	_, r := g.start(t, "user", shell("sleep 60"))
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", r.pid)); string(b) != "100\n" {
		t.Errorf("%q %v", b, err)
	}
}

func TestChunks(t *testing.T) {
	g := newGuest(t)
	r := g.run(t, "user", shell("head -c 3000000 /dev/zero"))
	if len(r.stdout) != 3000000 || r.maxChunk > 32<<10 {
		t.Errorf("%d bytes in chunks of up to %d", len(r.stdout), r.maxChunk)
	}
}

func TestInput(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		req := &processpb.StartRequest{Process: &processpb.ProcessConfig{Cmd: "cat"}}
		s, r := g.start(t, "user", req)
		input := func(text string) *processpb.ProcessInput {
			return &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: []byte(text)}}
		}
		if _, err := g.process.SendInput(t.Context(), connect.NewRequest(&processpb.SendInputRequest{Process: pid(r.pid), Input: input("one ")})); err != nil {
			t.Fatal(err)
		}
		in := g.process.StreamInput(t.Context())
		for _, ev := range []*processpb.StreamInputRequest{
			{Event: &processpb.StreamInputRequest_Start{Start: &processpb.StreamInputRequest_StartEvent{Process: pid(r.pid)}}},
			{Event: &processpb.StreamInputRequest_Keepalive{Keepalive: &processpb.StreamInputRequest_KeepAlive{}}},
			{Event: &processpb.StreamInputRequest_Data{Data: &processpb.StreamInputRequest_DataEvent{Input: input("two")}}},
		} {
			if err := in.Send(ev); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := in.CloseAndReceive(); err != nil {
			t.Fatal(err)
		}
		if _, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: pid(r.pid)})); err != nil {
			t.Fatal(err)
		}
		drain(t, s, r)
		if r.stdout != "one two" {
			t.Errorf("stdout %q", r.stdout)
		}
	})
}

func TestInputErrors(t *testing.T) {
	g := newGuest(t)
	s, r := g.start(t, "user", shell("sleep 60"))
	defer s.Close()
	send := func(sel *processpb.ProcessSelector, in *processpb.ProcessInput) error {
		_, err := g.process.SendInput(t.Context(), connect.NewRequest(&processpb.SendInputRequest{Process: sel, Input: in}))
		return err
	}
	stdin := &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: []byte("x")}}
	term := &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: []byte("x")}}
	wantCode(t, send(pid(r.pid), stdin), connect.CodeFailedPrecondition, "stdin is not open")
	wantCode(t, send(pid(r.pid), term), connect.CodeFailedPrecondition, "process has no terminal")
	wantCode(t, send(pid(1<<30), stdin), connect.CodeNotFound, "process with pid 1073741824 not found")
	wantCode(t, send(nil, stdin), connect.CodeInvalidArgument, "")
	_, err := g.process.Update(t.Context(), connect.NewRequest(&processpb.UpdateRequest{Process: pid(r.pid), Pty: &processpb.PTY{Size: &processpb.PTY_Size{}}}))
	wantCode(t, err, connect.CodeFailedPrecondition, "")
	_, err = g.process.SendSignal(t.Context(), connect.NewRequest(&processpb.SendSignalRequest{Process: pid(r.pid)}))
	wantCode(t, err, connect.CodeInvalidArgument, "")
}

// A process that does not read must not hold the caller beyond its deadline.
func TestInputBlocked(t *testing.T) {
	g := newGuest(t)
	s, r := g.start(t, "user", &processpb.StartRequest{Process: &processpb.ProcessConfig{Cmd: "sleep", Args: []string{"60"}}})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	big := &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: make([]byte, 1<<20)}}
	_, err := g.process.SendInput(ctx, connect.NewRequest(&processpb.SendInputRequest{Process: pid(r.pid), Input: big}))
	wantCode(t, err, connect.CodeDeadlineExceeded, "")
	if _, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: pid(r.pid)})); err != nil {
		t.Fatalf("stdin is still held: %v", err)
	}
}
