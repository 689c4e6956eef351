package machine

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// shellGuest serves processes as an agent does. What a command is decides what it does.
type shellGuest struct {
	processpbconnect.UnimplementedProcessHandler
	goOn  chan struct{}
	ended chan error

	mu sync.Mutex // of what follows: a call goes on in the guest after its client's deadline
	shellState
}

type shellState struct {
	pwd     string // what the command of an exercise writes
	noShell bool
	left    int      // the commands of the tag that Kill has to end
	refuse  error    // what a signal is refused with; nil is not
	kills   []string // the tags
	args    []string // of the command that began last, with its program and its tag
}

// set changes what the guest does, and state returns what it has seen.
func (g *shellGuest) set(change func(*shellState)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.shellState)
}

func (g *shellGuest) state() (s shellState) {
	g.set(func(now *shellState) { s = *now })
	return s
}

func (g *shellGuest) SendSignal(_ context.Context, req *connect.Request[processpb.SendSignalRequest]) (*connect.Response[processpb.SendSignalResponse], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kills = append(g.kills, req.Msg.GetProcess().GetTag()+" "+req.Msg.GetSignal().String())
	switch {
	case g.refuse != nil:
		return nil, g.refuse
	case g.left == 0:
		return nil, connect.NewError(connect.CodeNotFound, errors.New("tag"))
	case g.left > 0:
		g.left--
	}
	return connect.NewResponse(&processpb.SendSignalResponse{}), nil
}

func (g *shellGuest) Start(ctx context.Context, req *connect.Request[processpb.StartRequest], out *connect.ServerStream[processpb.StartResponse]) error {
	send := func(e *processpb.ProcessEvent) error { return out.Send(&processpb.StartResponse{Event: e}) }
	g.set(func(s *shellState) {
		s.args = append([]string{req.Msg.GetTag(), req.Msg.GetProcess().GetCmd()}, req.Msg.GetProcess().GetArgs()...)
	})
	state := g.state()
	text := req.Msg.GetProcess().GetArgs()[2]
	if user, _, _ := basic(req.Header()); user == "ghost" {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("invalid username: 'ghost'"))
	}
	if state.noShell {
		return connect.NewError(connect.CodeNotFound, errors.New("no such file: /bin/bash"))
	}
	if text == "silent" {
		return nil
	}
	if err := send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Start{Start: &processpb.ProcessEvent_StartEvent{Pid: 1}}}); err != nil {
		return err
	}
	switch text {
	case "cut":
		return nil
	case "huge":
		return send(stdout(strings.Repeat("x", maxMessage)))
	case "wait":
		select {
		case <-g.goOn:
		case <-ctx.Done(): // Of the stream: the agent lets a command go on.
			g.ended <- ctx.Err()
			return nil
		}
	}
	if text == "pwd" {
		if err := send(stdout(state.pwd)); err != nil {
			return err
		}
		return send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: &processpb.ProcessEvent_EndEvent{Exited: true}}})
	}
	_ = send(stdout(req.Msg.GetProcess().GetCwd() + req.Msg.GetProcess().GetEnvs()["A"]))
	_ = send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: &processpb.ProcessEvent_DataEvent{
		Output: &processpb.ProcessEvent_DataEvent_Stderr{Stderr: []byte("err")}}}})
	end := &processpb.ProcessEvent_EndEvent{Exited: true, Status: "exit status 0"}
	if text == "fail" {
		end.ExitCode, end.Status = 3, "exit status 3"
	}
	return send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: end}})
}

func stdout(text string) *processpb.ProcessEvent {
	return &processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: &processpb.ProcessEvent_DataEvent{
		Output: &processpb.ProcessEvent_DataEvent_Stdout{Stdout: []byte(text)}}}}
}

func basic(h http.Header) (user, password string, ok bool) {
	return (&http.Request{Header: h}).BasicAuth()
}

// one is a listener with one connection, which ends when the connection is closed.
type one struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l one) Accept() (net.Conn, error) {
	if conn, ok := <-l.conns; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (one) Close() error   { return nil }
func (one) Addr() net.Addr { return &net.UnixAddr{} }

// guestMachine is a machine that has a guest.
type guestMachine struct {
	*Machines
	id string
}

func (m guestMachine) run(ctx context.Context, c Command) error { return m.Run(ctx, m.id, c) }

// open returns a machine that has a guest.
func open(t *testing.T) (guestMachine, *shellGuest) {
	t.Helper()
	g := &shellGuest{goOn: make(chan struct{}), ended: make(chan error, 1)}
	path, handler := processpbconnect.NewProcessHandler(g)
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	driver := memvm.New(memvm.Options{Handler: func(string, uint16) func(net.Conn) {
		return func(conn net.Conn) {
			l := one{make(chan net.Conn, 1), make(chan struct{})}
			l.conns <- conn
			close(l.conns)
			server := &http.Server{Handler: mux, ConnState: func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					close(l.done)
				}
			}}
			_ = server.Serve(l)
			<-l.done
		}
	}})
	machines, err := New(Config{Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	s := guestMachine{machines, "m1"}
	if err := errors.Join(driver.Create(t.Context(), s.id, vm.Spec{Rootfs: "/", Args: []string{"/agent"}, VCPUs: 1, MemoryMiB: 64, DiskMiB: 64}), driver.Start(t.Context(), s.id)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Destroy(context.WithoutCancel(t.Context()), s.id) })
	return s, g
}

func TestCommandsSayHowTheyEnd(t *testing.T) {
	s, _ := open(t)
	for text, want := range map[string]string{
		"ok": "<nil>", "fail": "exit status 3", "silent": "does not say that it began", "cut": "ended before the command did", "huge": "follow the command",
	} {
		var out bytes.Buffer
		err := s.run(t.Context(), Command{Text: text, Workdir: "/w", Env: map[string]string{"A": "1"}, Stdout: &out, Stderr: &out})
		if got := errorText(err); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if exit := new(ExitError); errors.As(err, &exit) != (text == "fail") {
			t.Errorf("%s: %v", text, err)
		}
		if (text == "ok" || text == "fail") && out.String() != "/w1err" {
			t.Errorf("%s wrote %q", text, out.String())
		}
	}
	err := s.run(t.Context(), Command{Text: "ok", User: "ghost"})
	if got := errorText(err); got != "command failed: unauthenticated: invalid username: 'ghost'" {
		t.Error(got)
	}
}

func errorText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}

func TestACommandIsLeft(t *testing.T) {
	s, g := open(t)
	r, err := s.Begin(t.Context(), s.id, Command{Text: "wait"})
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- r.Wait() }()
	r.Leave()
	if err := <-waited; err == nil || errors.As(err, new(*ExitError)) {
		t.Errorf("it ended with %v", err)
	}
	if err := <-g.ended; err == nil {
		t.Error("the connection stays")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Begin(gone, s.id, Command{Text: "ok"}); err == nil {
		t.Error("it began after its context")
	}
}

// full is an output whose disk is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no room") }

func TestAnOutputThatFailsEndsTheWait(t *testing.T) {
	s, _ := open(t)
	for _, c := range []Command{{Text: "ok", Stdout: full{}, Workdir: "/w"}, {Text: "ok", Stderr: full{}}} {
		if err := s.run(t.Context(), c); err == nil || err.Error() != "no room" {
			t.Error(err)
		}
	}
}

func TestAnExerciseIsShort(t *testing.T) {
	s, g := open(t)
	for says, want := range map[string]string{"/tmp\n": "<nil>", "/\n": "it wrote", strings.Repeat("x", exerciseOutput+1): "too long", strings.Repeat("x", exerciseReply): "follow the command"} {
		g.set(func(s *shellState) { s.pwd = says })
		if got := errorText(s.Exercise(t.Context(), s.id)); !strings.Contains(got, want) {
			t.Errorf("%.10q: %s, want %s", says, got, want)
		}
	}
	g.set(func(s *shellState) { s.noShell = true })
	if err := s.Exercise(t.Context(), s.id); err != nil {
		t.Errorf("without a shell: %v", err)
	}
}

func TestAProgramRunsWithoutAShell(t *testing.T) {
	s, g := open(t)
	if err := s.run(t.Context(), Command{Args: []string{"git", "fetch", "a b", "$x"}, Tag: "sync"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"sync", "git", "fetch", "a b", "$x"}; !slices.Equal(g.state().args, want) {
		t.Errorf("%q, want %q", g.state().args, want)
	}
}

func TestKillReturnsWhenThereIsNothingLeft(t *testing.T) {
	s, g := open(t)
	g.set(func(s *shellState) { s.left = 2 })
	if err := s.Kill(t.Context(), s.id, "sync"); err != nil || !slices.Equal(g.state().kills, []string{"sync SIGNAL_SIGKILL", "sync SIGNAL_SIGKILL", "sync SIGNAL_SIGKILL"}) {
		t.Errorf("%q, %v", g.state().kills, err)
	}
	g.set(func(s *shellState) { s.left = -1 }) // What cannot be killed.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Kill(ctx, s.id, "sync"); !errors.Is(err, context.DeadlineExceeded) && connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("%v", err)
	}
	g.set(func(s *shellState) { s.refuse = connect.NewError(connect.CodeInternal, errors.New("broken")) })
	if err := s.Kill(t.Context(), s.id, "sync"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("%v", err)
	}
}
