package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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
	case <-time.After(time.Minute):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}
