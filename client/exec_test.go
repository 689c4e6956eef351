package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	processpb "github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
)

// guest is an agent with one process, whose life is the test's.
type guest struct {
	processpbconnect.UnimplementedProcessHandler
	start func(context.Context, *processpb.StartRequest, *connect.ServerStream[processpb.StartResponse]) error

	stdin   chan string // what came in; closed by CloseStdin
	ptyIn   chan string
	sizes   chan Winsize
	signals chan processpb.Signal

	mu     sync.Mutex
	header http.Header
}

const guestPID = 77

func (g *guest) Start(ctx context.Context, req *connect.Request[processpb.StartRequest], out *connect.ServerStream[processpb.StartResponse]) error {
	g.mu.Lock()
	g.header = req.Header().Clone()
	g.mu.Unlock()
	return g.start(ctx, req.Msg, out)
}

func right(sel *processpb.ProcessSelector) error {
	if sel.GetPid() != guestPID {
		return connect.NewError(connect.CodeNotFound, errors.New("no such process"))
	}
	return nil
}

func (g *guest) SendInput(_ context.Context, req *connect.Request[processpb.SendInputRequest]) (*connect.Response[processpb.SendInputResponse], error) {
	if b := req.Msg.GetInput().GetPty(); b != nil {
		g.ptyIn <- string(b)
	} else {
		g.stdin <- string(req.Msg.GetInput().GetStdin())
	}
	return connect.NewResponse(&processpb.SendInputResponse{}), right(req.Msg.GetProcess())
}

func (g *guest) CloseStdin(_ context.Context, req *connect.Request[processpb.CloseStdinRequest]) (*connect.Response[processpb.CloseStdinResponse], error) {
	close(g.stdin)
	return connect.NewResponse(&processpb.CloseStdinResponse{}), right(req.Msg.GetProcess())
}

func (g *guest) Update(_ context.Context, req *connect.Request[processpb.UpdateRequest]) (*connect.Response[processpb.UpdateResponse], error) {
	size := req.Msg.GetPty().GetSize()
	g.sizes <- Winsize{size.GetCols(), size.GetRows()}
	return connect.NewResponse(&processpb.UpdateResponse{}), right(req.Msg.GetProcess())
}

func (g *guest) SendSignal(_ context.Context, req *connect.Request[processpb.SendSignalRequest]) (*connect.Response[processpb.SendSignalResponse], error) {
	g.signals <- req.Msg.GetSignal()
	return connect.NewResponse(&processpb.SendSignalResponse{}), right(req.Msg.GetProcess())
}

// newGuest serves an agent whose process does what life says, and returns how
// to reach it.
func newGuest(t *testing.T, life func(ctx context.Context, req *processpb.StartRequest, p process) error) (*guest, Agent) {
	t.Helper()
	g := &guest{stdin: make(chan string, 16), ptyIn: make(chan string, 16), sizes: make(chan Winsize, 16), signals: make(chan processpb.Signal, 16)}
	g.start = func(ctx context.Context, req *processpb.StartRequest, out *connect.ServerStream[processpb.StartResponse]) error {
		return life(ctx, req, process{t, out})
	}
	mux := http.NewServeMux()
	mux.Handle(processpbconnect.NewProcessHandler(g))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return g, Agent{HTTP: srv.Client(), BaseURL: srv.URL, Header: http.Header{"X-Access-Token": {"token"}}}
}

// process writes the events of a process.
type process struct {
	t   *testing.T
	out *connect.ServerStream[processpb.StartResponse]
}

func (p process) send(ev *processpb.ProcessEvent) {
	_ = p.out.Send(&processpb.StartResponse{Event: ev})
}

func (p process) started() {
	p.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Start{Start: &processpb.ProcessEvent_StartEvent{Pid: guestPID}}})
}

func (p process) stdout(s string) {
	p.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: &processpb.ProcessEvent_DataEvent{
		Output: &processpb.ProcessEvent_DataEvent_Stdout{Stdout: []byte(s)}}}})
}

func (p process) stderr(s string) {
	p.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: &processpb.ProcessEvent_DataEvent{
		Output: &processpb.ProcessEvent_DataEvent_Stderr{Stderr: []byte(s)}}}})
}

func (p process) terminal(s string) {
	p.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: &processpb.ProcessEvent_DataEvent{
		Output: &processpb.ProcessEvent_DataEvent_Pty{Pty: []byte(s)}}}})
}

func (p process) keepalive() {
	p.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Keepalive{Keepalive: &processpb.ProcessEvent_KeepAlive{}}})
}

func (p process) exit(code int32, status string) error {
	p.send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: &processpb.ProcessEvent_EndEvent{ExitCode: code, Exited: code >= 0, Status: status}}})
	return nil
}

// receive takes what must come; a test that waits longer fails.
func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(5 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func TestRun(t *testing.T) {
	g, agent := newGuest(t, func(_ context.Context, req *processpb.StartRequest, p process) error {
		cfg := req.GetProcess()
		if cfg.GetCmd() != "ls" || strings.Join(cfg.GetArgs(), " ") != "-l /" || cfg.GetEnvs()["K"] != "V" || cfg.GetCwd() != "/tmp" {
			t.Errorf("config %v", cfg)
		}
		if req.Stdin == nil || req.GetStdin() || req.GetPty() != nil {
			t.Errorf("request %v", req)
		}
		p.started()
		p.stdout("out\xff1 ")
		p.keepalive()
		p.stderr("err")
		p.stdout("2")
		return p.exit(0, "exit status 0")
	})
	var stdout, stderr bytes.Buffer
	var pid uint32
	code, err := agent.Run(t.Context(), Command{
		Args: []string{"ls", "-l", "/"}, Env: map[string]string{"K": "V"}, Cwd: "/tmp", User: "ann",
		Stdout: &stdout, Stderr: &stderr, Started: func(p uint32) { pid = p },
	})
	if code != 0 || err != nil || stdout.String() != "out\xff1 2" || stderr.String() != "err" || pid != guestPID {
		t.Errorf("%d, %v, %q, %q, pid %d", code, err, stdout.String(), stderr.String(), pid)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if user, _, _ := (&http.Request{Header: g.header}).BasicAuth(); user != "ann" || g.header.Get("X-Access-Token") != "token" {
		t.Errorf("header %v", g.header)
	}
	if agent.Header.Get("Authorization") != "" {
		t.Error("the caller's header was changed")
	}
}

func TestExitCodes(t *testing.T) {
	for status, tc := range map[string]struct {
		code int32
		want int
	}{
		"exit status 0":      {0, 0},
		"exit status 255":    {255, 255},
		"signal: killed":     {-1, 137},
		"signal: terminated": {-1, 143},
		"signal: hangup":     {-1, 129},
		"signal: segmentation fault (core dumped)": {-1, 139},
		"signal: user defined signal 1":            {-1, 128},
	} {
		_, agent := newGuest(t, func(_ context.Context, _ *processpb.StartRequest, p process) error {
			p.started()
			return p.exit(tc.code, status)
		})
		if code, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); code != tc.want || err != nil {
			t.Errorf("%s: %d, %v", status, code, err)
		}
	}
}

func TestInput(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	var g *guest
	g, agent := newGuest(t, func(_ context.Context, req *processpb.StartRequest, p process) error {
		if !req.GetStdin() {
			t.Error("the process has no input")
		}
		p.started()
		for s := range g.stdin {
			p.stdout(s)
		}
		return p.exit(3, "")
	})
	var out bytes.Buffer
	code, err := agent.Run(t.Context(), Command{Args: []string{"cat"}, Stdin: strings.NewReader(big), Stdout: &out})
	if code != 3 || err != nil || out.String() != big {
		t.Errorf("%d, %v, %d bytes", code, err, out.Len())
	}
}

// A command that ends before its input does must not wait for it.
func TestCommandEndsBeforeItsInput(t *testing.T) {
	_, agent := newGuest(t, func(_ context.Context, _ *processpb.StartRequest, p process) error {
		p.started()
		return p.exit(0, "")
	})
	r, w := io.Pipe()
	defer w.Close()
	if code, err := agent.Run(t.Context(), Command{Args: []string{"true"}, Stdin: r}); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}

func TestTerminal(t *testing.T) {
	var g *guest
	g, agent := newGuest(t, func(_ context.Context, req *processpb.StartRequest, p process) error {
		if size := req.GetPty().GetSize(); size.GetCols() != 91 || size.GetRows() != 17 {
			t.Errorf("size %v", size)
		}
		p.started()
		p.terminal("got " + <-g.ptyIn)
		if size := <-g.sizes; size != (Winsize{120, 40}) {
			t.Errorf("new size %v", size)
		}
		return p.exit(0, "")
	})
	sizes := make(chan Winsize, 1)
	sizes <- Winsize{120, 40}
	close(sizes) // and no more: nothing else may be sent
	var out bytes.Buffer
	code, err := agent.Run(t.Context(), Command{
		Args: []string{"sh"}, TTY: &Winsize{91, 17}, Resize: sizes, Stdin: strings.NewReader("typed"), Stdout: &out,
	})
	if code != 0 || err != nil || out.String() != "got typed" {
		t.Errorf("%d, %v, %q", code, err, out.String())
	}
	select {
	case size := <-g.sizes:
		t.Errorf("size %v, which nobody set", size)
	case s, open := <-g.stdin:
		t.Errorf("a terminal's input: %q, open %v", s, open)
	default:
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// untilGone lets a process live until its client has left.
func untilGone(output func(process)) func(context.Context, *processpb.StartRequest, process) error {
	return func(ctx context.Context, _ *processpb.StartRequest, p process) error {
		p.started()
		output(p)
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestOutputThatCannotBeWrittenKills(t *testing.T) {
	for name, tc := range map[string]struct {
		output func(process)
		cmd    Command
	}{
		"stdout":   {func(p process) { p.stdout("1"); p.stdout("2") }, Command{Stdout: &failing{after: 1}}},
		"stderr":   {func(p process) { p.stderr("1") }, Command{Stderr: &failing{}}},
		"terminal": {func(p process) { p.terminal("1") }, Command{Stdout: &failing{}, TTY: &Winsize{1, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			g, agent := newGuest(t, untilGone(tc.output))
			tc.cmd.Args = []string{"yes"}
			if _, err := agent.Run(t.Context(), tc.cmd); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%v", err)
			}
			if sig := receive(t, "signal", g.signals); sig != processpb.Signal_SIGNAL_SIGKILL {
				t.Errorf("signal %v", sig)
			}
		})
	}
}

func TestEndOfTheContextKills(t *testing.T) {
	g, agent := newGuest(t, untilGone(func(process) {}))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := agent.Run(ctx, Command{Args: []string{"sleep"}, Started: func(uint32) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if sig := receive(t, "signal", g.signals); sig != processpb.Signal_SIGNAL_SIGKILL {
		t.Errorf("signal %v", sig)
	}
}

func TestServerErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		life func(context.Context, *processpb.StartRequest, process) error
		want string
	}{
		"refused": {func(context.Context, *processpb.StartRequest, process) error {
			return connect.NewError(connect.CodeInvalidArgument, errors.New("no such file: x"))
		}, "follow x: no such file: x"},
		"broken off": {func(_ context.Context, _ *processpb.StartRequest, p process) error {
			p.started()
			return connect.NewError(connect.CodeUnavailable, errors.New("the sandbox is gone"))
		}, "follow x: the sandbox is gone"},
		"ended early": {func(_ context.Context, _ *processpb.StartRequest, p process) error {
			p.started()
			return nil
		}, "the stream ended before the command did"},
	} {
		t.Run(name, func(t *testing.T) {
			_, agent := newGuest(t, tc.life)
			if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNoServerAndNoCommand(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	agent := Agent{HTTP: srv.Client(), BaseURL: srv.URL}
	if _, err := agent.Run(t.Context(), Command{}); err == nil {
		t.Error("ran nothing")
	}
	if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); err == nil {
		t.Error("a server that knows no commands ran one")
	}
	srv.Close()
	if _, err := agent.Run(t.Context(), Command{Args: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}
