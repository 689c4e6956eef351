//go:build linux

// Package process serves envd's process.Process: it starts commands and
// terminals as guest users and follows them for any number of clients. It may
// import agent/account, agent/sandbox, agent/reaper, agent/stream and the
// generated API; only agent imports it.
package process

import (
	"context"
	"errors"
	"syscall"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/agent/reaper"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/agent/stream"
	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
)

// Service implements the RPCs. A process lives until it ends, is killed, or
// passes the timeout of the request that started it.
type Service struct {
	state  *sandbox.State
	reaper *reaper.Reaper
	table  *table
}

var _ processpbconnect.ProcessHandler = (*Service)(nil)

// New returns a Service that starts processes with r.
func New(state *sandbox.State, r *reaper.Reaper) *Service {
	return &Service{state: state, reaper: r, table: newTable()}
}

// Close kills every process and returns when all have ended.
func (s *Service) Close() {
	for _, p := range s.table.list() {
		// One that is gone meanwhile is what is wanted.
		_ = p.kill()
		<-p.ended
	}
}

// List returns the running processes.
func (s *Service) List(context.Context, *connect.Request[processpb.ListRequest]) (*connect.Response[processpb.ListResponse], error) {
	resp := &processpb.ListResponse{}
	for _, p := range s.table.list() {
		resp.Processes = append(resp.Processes, &processpb.ProcessInfo{Config: p.config, Pid: p.pid, Tag: p.tag})
	}
	return connect.NewResponse(resp), nil
}

// Start runs a process and streams its events.
func (s *Service) Start(ctx context.Context, req *connect.Request[processpb.StartRequest], out *connect.ServerStream[processpb.StartResponse]) error {
	u, err := s.state.RequestUser(req.Header())
	if err != nil {
		return wireError(err)
	}
	expired := make(chan struct{})
	var sub *subscription
	p, err := s.launch(req.Msg, u, func(p *proc) {
		s.table.add(p)
		sub = p.out.subscribe()
		if d, ok := stream.Timeout(ctx); ok {
			p.limit = stream.AfterFunc(d, func() {
				close(expired)
				// One that just ended needs no killing.
				_ = p.kill()
			})
		}
	})
	var missing *missingError
	if errors.As(err, &missing) {
		p, sub = s.missing(req.Msg, missing)
	} else if err != nil {
		return wireError(err)
	}
	defer p.out.unsubscribe(sub)
	send := func(ev *processpb.ProcessEvent) error { return out.Send(&processpb.StartResponse{Event: ev}) }
	return relay(ctx, p, sub, expired, stream.PingInterval(req.Header()), send)
}

// Connect streams the further events of a process.
func (s *Service) Connect(ctx context.Context, req *connect.Request[processpb.ConnectRequest], out *connect.ServerStream[processpb.ConnectResponse]) error {
	p, err := s.table.find(req.Msg.GetProcess(), true)
	if err != nil {
		return wireError(err)
	}
	expired := make(chan struct{})
	if d, ok := stream.Timeout(ctx); ok {
		t := stream.AfterFunc(d, func() { close(expired) })
		defer t.Stop()
	}
	sub := p.out.subscribe()
	defer p.out.unsubscribe(sub)
	send := func(ev *processpb.ProcessEvent) error { return out.Send(&processpb.ConnectResponse{Event: ev}) }
	return relay(ctx, p, sub, expired, stream.PingInterval(req.Header()), send)
}

// Update resizes a terminal.
func (s *Service) Update(_ context.Context, req *connect.Request[processpb.UpdateRequest]) (*connect.Response[processpb.UpdateResponse], error) {
	p, err := s.table.find(req.Msg.GetProcess(), false)
	if err == nil && req.Msg.GetPty().GetSize() != nil {
		err = p.resize(req.Msg.GetPty().GetSize())
	}
	if err != nil {
		return nil, wireError(err)
	}
	return connect.NewResponse(&processpb.UpdateResponse{}), nil
}

// SendInput writes to stdin or the terminal.
func (s *Service) SendInput(ctx context.Context, req *connect.Request[processpb.SendInputRequest]) (*connect.Response[processpb.SendInputResponse], error) {
	p, err := s.table.find(req.Msg.GetProcess(), false)
	if err == nil {
		err = p.write(ctx, req.Msg.GetInput())
	}
	if err != nil {
		return nil, wireError(err)
	}
	return connect.NewResponse(&processpb.SendInputResponse{}), nil
}

// StreamInput writes a stream of input; its first event names the process.
func (s *Service) StreamInput(ctx context.Context, in *connect.ClientStream[processpb.StreamInputRequest]) (*connect.Response[processpb.StreamInputResponse], error) {
	var p *proc
	for in.Receive() {
		var err error
		switch ev := in.Msg().GetEvent().(type) {
		case *processpb.StreamInputRequest_Start:
			p, err = s.table.find(ev.Start.GetProcess(), false)
		case *processpb.StreamInputRequest_Data:
			if p == nil {
				err = errNoStart
			} else {
				err = p.write(ctx, ev.Data.GetInput())
			}
		}
		if err != nil {
			return nil, wireError(err)
		}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&processpb.StreamInputResponse{}), nil
}

// SendSignal terminates a process or kills it with its process group.
func (s *Service) SendSignal(_ context.Context, req *connect.Request[processpb.SendSignalRequest]) (*connect.Response[processpb.SendSignalResponse], error) {
	p, err := s.table.find(req.Msg.GetProcess(), false)
	if err == nil {
		switch req.Msg.GetSignal() {
		case processpb.Signal_SIGNAL_SIGKILL:
			err = p.kill()
		case processpb.Signal_SIGNAL_SIGTERM:
			err = p.terminate()
		default:
			err = errSignal
		}
	}
	if err != nil {
		return nil, wireError(err)
	}
	return connect.NewResponse(&processpb.SendSignalResponse{}), nil
}

// CloseStdin ends the input of a process without a terminal.
func (s *Service) CloseStdin(_ context.Context, req *connect.Request[processpb.CloseStdinRequest]) (*connect.Response[processpb.CloseStdinResponse], error) {
	p, err := s.table.find(req.Msg.GetProcess(), false)
	if err == nil {
		if p.pty != nil {
			err = errPTYStdin
		} else {
			p.closeStdin()
		}
	}
	if err != nil {
		return nil, wireError(err)
	}
	return connect.NewResponse(&processpb.CloseStdinResponse{}), nil
}

var (
	errNoStart = errors.New("the first event must name the process")
	errSignal  = errors.New("only SIGTERM and SIGKILL can be sent")
)

// wireError gives an error its Connect code.
func wireError(err error) error {
	var user *sandbox.UserError
	var missing *notFoundError
	var cwd *cwdError
	code := connect.CodeInternal
	switch {
	case errors.As(err, &user):
		code, err = connect.CodeUnauthenticated, user
	case errors.As(err, &missing), errors.Is(err, reaper.ErrGone):
		code = connect.CodeNotFound
	case errors.As(err, &cwd):
		code, err = connect.CodeInvalidArgument, cwd
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		code = connect.CodeResourceExhausted
	case errors.Is(err, errCommand), errors.Is(err, errNoStart), errors.Is(err, errNoInput), errors.Is(err, errSignal),
		errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.E2BIG),
		errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG):
		code = connect.CodeInvalidArgument
	case errors.Is(err, errStdinClosed), errors.Is(err, errNoPTY), errors.Is(err, errPTYStdin), errors.Is(err, syscall.EPIPE):
		code = connect.CodeFailedPrecondition
	}
	return connect.NewError(code, err)
}
