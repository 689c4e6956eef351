//go:build linux

package agent_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/api/gen/envd/processpb"
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
		g.init(t, control.InitRequest{
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
		{"missing command", "user", bad(func(c *processpb.ProcessConfig) { c.Cmd = "/no/such/command" }), connect.CodeInvalidArgument, ""},
		{"missing in PATH", "user", bad(func(c *processpb.ProcessConfig) { c.Cmd = "no-such-command" }), connect.CodeInvalidArgument, ""},
		{"not executable", "user", bad(func(c *processpb.ProcessConfig) { c.Cmd = "/etc/passwd" }), connect.CodeInvalidArgument, ""},
		{"zero byte", "user", bad(func(c *processpb.ProcessConfig) { c.Args = []string{"a\x00b"} }), connect.CodeInvalidArgument, ""},
		{"huge argument", "user", bad(func(c *processpb.ProcessConfig) { c.Args = []string{strings.Repeat("x", 1<<20)} }), connect.CodeInvalidArgument, ""},
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

func TestTerminal(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		req := &processpb.StartRequest{
			Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"--norc", "-i"}, Envs: map[string]string{"PS1": "", "TERM": "xterm-256color"}},
			Pty:     &processpb.PTY{Size: &processpb.PTY_Size{Cols: 91, Rows: 17}},
		}
		s, r := g.start(t, "user", req)
		typed := func(text string) {
			t.Helper()
			in := &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: []byte(text)}}
			if _, err := g.process.SendInput(t.Context(), connect.NewRequest(&processpb.SendInputRequest{Process: pid(r.pid), Input: in})); err != nil {
				t.Fatal(err)
			}
		}
		until := func(text string) {
			t.Helper()
			for !strings.Contains(r.term, text) {
				if !s.Receive() {
					t.Fatalf("stream ended (%v) before %q: %q", s.Err(), text, r.term)
				}
				r.add(s.Msg().GetEvent())
			}
		}
		typed("stty size; test -t 0 && echo is-a''-tty\n")
		until("17 91")
		until("is-a-tty")
		resize := &processpb.UpdateRequest{Process: pid(r.pid), Pty: &processpb.PTY{Size: &processpb.PTY_Size{Cols: 120, Rows: 40}}}
		if _, err := g.process.Update(t.Context(), connect.NewRequest(resize)); err != nil {
			t.Fatal(err)
		}
		typed("stty size\n")
		until("40 120")
		_, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: pid(r.pid)}))
		wantCode(t, err, connect.CodeFailedPrecondition, "")
		// ^C must reach the foreground job.
		typed("(trap 'echo int-'errupted'; exit' INT; echo rea'dy'; while :; do sleep 0.05; done)\n")
		until("ready")
		typed("\x03")
		until("int-errupted")
		typed("exit 7\n")
		drain(t, s, r)
		if r.end.GetExitCode() != 7 || r.maxChunk > 16<<10 {
			t.Errorf("end %v, largest chunk %d", r.end, r.maxChunk)
		}
	})
}

func TestSignals(t *testing.T) {
	g := newGuest(t)
	signal := func(p uint32, sig processpb.Signal) error {
		_, err := g.process.SendSignal(t.Context(), connect.NewRequest(&processpb.SendSignalRequest{Process: pid(p), Signal: sig}))
		return err
	}
	t.Run("term", func(t *testing.T) {
		s, r := g.start(t, "user", shell("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"))
		for r.stdout == "" && s.Receive() {
			r.add(s.Msg().GetEvent())
		}
		if err := signal(r.pid, processpb.Signal_SIGNAL_SIGTERM); err != nil {
			t.Fatal(err)
		}
		drain(t, s, r)
		if r.stdout != "ready\ncaught\n" || r.end.GetExitCode() != 5 {
			t.Errorf("stdout %q, end %v", r.stdout, r.end)
		}
	})
	t.Run("kill takes the group", func(t *testing.T) {
		s, r := g.start(t, "user", shell("sleep 1000 & echo $!; wait"))
		for !strings.Contains(r.stdout, "\n") && s.Receive() {
			r.add(s.Msg().GetEvent())
		}
		if err := signal(r.pid, processpb.Signal_SIGNAL_SIGKILL); err != nil {
			t.Fatal(err)
		}
		drain(t, s, r)
		if r.end.GetExitCode() != -1 || r.end.GetError() != "signal: killed" || r.end.GetExited() {
			t.Errorf("end %v", r.end)
		}
		wantCode(t, signal(r.pid, processpb.Signal_SIGNAL_SIGKILL), connect.CodeNotFound, fmt.Sprintf("process with pid %d not found", r.pid))
		waitDead(t, strings.TrimSpace(r.stdout))
	})
}

// waitDead returns when a process is gone, or a zombie that its own reaper
// has not collected yet.
func waitDead(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Fatalf("process %s is still there", pid)
}

func TestConnect(t *testing.T) {
	codecs(t, func(t *testing.T, g *guest) {
		tag := "my-tag"
		req := &processpb.StartRequest{Process: &processpb.ProcessConfig{Cmd: "cat"}, Tag: &tag}
		first, r := g.start(t, "user", req)
		infos := g.list(t)
		if len(infos) != 1 || infos[0].GetPid() != r.pid || infos[0].GetTag() != tag || infos[0].GetConfig().GetCmd() != "cat" {
			t.Fatalf("list %v", infos)
		}
		// The process outlives the stream that started it.
		first.Close()
		byTag := &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Tag{Tag: tag}}
		again := func(sel *processpb.ProcessSelector) (*connect.ServerStreamForClient[processpb.ConnectResponse], *result) {
			s, err := g.process.Connect(t.Context(), connect.NewRequest(&processpb.ConnectRequest{Process: sel}))
			if err != nil {
				t.Fatal(err)
			}
			c := &result{}
			if !s.Receive() {
				t.Fatal(s.Err())
			}
			c.add(s.Msg().GetEvent())
			if c.pid != r.pid {
				t.Fatalf("first event %v", s.Msg())
			}
			return s, c
		}
		s1, r1 := again(byTag)
		s2, r2 := again(pid(r.pid))
		in := &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: []byte("to both")}}
		if _, err := g.process.SendInput(t.Context(), connect.NewRequest(&processpb.SendInputRequest{Process: byTag, Input: in})); err != nil {
			t.Fatal(err)
		}
		if _, err := g.process.CloseStdin(t.Context(), connect.NewRequest(&processpb.CloseStdinRequest{Process: byTag})); err != nil {
			t.Fatal(err)
		}
		for i, s := range []*connect.ServerStreamForClient[processpb.ConnectResponse]{s1, s2} {
			c := []*result{r1, r2}[i]
			for s.Receive() {
				c.add(s.Msg().GetEvent())
			}
			if s.Err() != nil || c.stdout != "to both" || c.end.GetStatus() != "exit status 0" {
				t.Errorf("subscriber %d: %q %v %v", i, c.stdout, c.end, s.Err())
			}
		}
		// The end is retained, but the process is not listed.
		s3, r3 := again(pid(r.pid))
		for s3.Receive() {
			r3.add(s3.Msg().GetEvent())
		}
		if r3.end.GetStatus() != "exit status 0" {
			t.Errorf("after the end: %v %v", r3.end, s3.Err())
		}
		if infos := g.list(t); len(infos) != 0 {
			t.Errorf("list after the end %v", infos)
		}
		none, err := g.process.Connect(t.Context(), connect.NewRequest(&processpb.ConnectRequest{Process: pid(1 << 30)}))
		if err == nil {
			none.Receive()
			err = none.Err()
		}
		wantCode(t, err, connect.CodeNotFound, "")
	})
}

// rawStart sends a Start the way SDKs do, so that no client library enforces
// the time-out, and returns the messages.
func rawStart(t *testing.T, g *guest, header map[string]string, script string) []map[string]any {
	t.Helper()
	body, err := json.Marshal(map[string]any{"process": map[string]any{"cmd": "/bin/sh", "args": []string{"-c", script}, "unknownField": 1}, "stdin": false})
	if err != nil {
		t.Fatal(err)
	}
	envelope := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/process.Process/Start", bytes.NewReader(envelope))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	req.Header.Set("Connect-Protocol-Version", "1")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var messages []map[string]any
	for {
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			return messages
		}
		data := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(resp.Body, data); err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
}

func TestTimeoutKills(t *testing.T) {
	g := newGuest(t)
	begin := time.Now()
	messages := rawStart(t, g, map[string]string{"Connect-Timeout-Ms": "400"}, "sleep 1000 & echo $!; wait")
	if took := time.Since(begin); took < 350*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	last, _ := messages[len(messages)-1]["error"].(map[string]any)
	if last["code"] != "deadline_exceeded" {
		t.Errorf("last message %v", messages[len(messages)-1])
	}
	for deadline := time.Now().Add(5 * time.Second); len(g.list(t)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("process outlived its time-out")
		}
	}
}

func TestKeepalive(t *testing.T) {
	g := newGuest(t)
	messages := rawStart(t, g, map[string]string{"Keepalive-Ping-Interval": "1"}, "sleep 1.5; echo done")
	kinds := []string{}
	for _, m := range messages {
		ev, _ := m["event"].(map[string]any)
		for k := range ev {
			kinds = append(kinds, k)
		}
	}
	if want := []string{"start", "keepalive", "data", "end"}; !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
}

// Output of what a command leaves in the background still counts, but a kill
// does not wait for it.
func TestBackgroundOutput(t *testing.T) {
	g := newGuest(t)
	r := g.run(t, "user", shell("(sleep 0.2; echo late) & echo early"))
	if r.stdout != "early\nlate\n" {
		t.Errorf("stdout %q", r.stdout)
	}
	s, r := g.start(t, "user", shell("setsid sleep 1000 & echo $!"))
	for !strings.Contains(r.stdout, "\n") && s.Receive() {
		r.add(s.Msg().GetEvent())
	}
	waitDead(t, fmt.Sprint(r.pid))
	if _, err := g.process.SendSignal(t.Context(), connect.NewRequest(&processpb.SendSignalRequest{Process: pid(r.pid), Signal: processpb.Signal_SIGNAL_SIGKILL})); err != nil {
		t.Fatal(err)
	}
	drain(t, s, r)
	if r.end.GetStatus() != "exit status 0" {
		t.Errorf("end %v", r.end)
	}
	// The daemon has a session of its own and lives on; it is the test's to end.
	var daemon int
	fmt.Sscan(r.stdout, &daemon)
	if p, err := os.FindProcess(daemon); err == nil {
		p.Kill()
	}
}

func TestManyAtOnce(t *testing.T) {
	g := newGuest(t)
	results := make(chan string, 40)
	for i := range 40 {
		go func() {
			s, err := g.process.Start(t.Context(), as("user", shell(fmt.Sprintf("echo %d; exit %d", i, i))))
			if err != nil {
				results <- err.Error()
				return
			}
			defer s.Close()
			r := &result{}
			for s.Receive() {
				r.add(s.Msg().GetEvent())
			}
			if r.stdout != fmt.Sprintf("%d\n", i) || r.end.GetExitCode() != int32(i) {
				results <- fmt.Sprintf("%d: %q %v %v", i, r.stdout, r.end, s.Err())
				return
			}
			results <- ""
		}()
	}
	for range 40 {
		if msg := <-results; msg != "" {
			t.Error(msg)
		}
	}
}
