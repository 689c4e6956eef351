package site

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
)

// maxMessage bounds one message of an agent, in bytes: the guest is not trusted.
const maxMessage = 4 << 20

// Command is a command for the guest's shell.
type Command struct {
	Text string
	// User runs it, in the directory Workdir; empty is the default of the agent.
	User, Workdir string
	Env           map[string]string
	// Output receives what it writes, to both outputs. It must not keep what it is given.
	Output io.Writer
}

// ExitError says that a command failed.
type ExitError struct{ Status string }

func (e *ExitError) Error() string { return e.Status }

// Running is a command that was started.
type Running struct {
	transport *http.Transport
	stream    *connect.ServerStreamForClient[processpb.StartResponse]
	output    io.Writer
	cancel    context.CancelFunc
}

// Run runs a command to its end, *ExitError. When ctx ends, the caller closes the site: the command
// is not ended for it.
func (s *Site) Run(ctx context.Context, c Command) error {
	r, err := s.Start(ctx, c)
	if err != nil {
		return err
	}
	defer r.Leave()
	return r.Wait()
}

// Start starts a command. The caller calls Leave in the end; ctx bounds all of it.
func (s *Site) Start(ctx context.Context, c Command) (*Running, error) {
	dial := s.cfg.Machines.Agent(s.guest.ID)
	r := &Running{output: c.Output, transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}}
	rpc := processpbconnect.NewProcessClient(&http.Client{Transport: r.transport}, "http://agent", connect.WithProtoJSON(), connect.WithReadMaxBytes(maxMessage))
	noInput := false
	req := connect.NewRequest(&processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"-l", "-c", c.Text}, Envs: c.Env}, Stdin: &noInput,
	})
	if c.Workdir != "" {
		req.Msg.Process.Cwd = &c.Workdir
	}
	if c.User != "" {
		req.Header().Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.User+":")))
	}
	ctx, r.cancel = context.WithCancel(ctx)
	var err error
	if r.stream, err = rpc.Start(ctx, req); err == nil && !r.stream.Receive() {
		err = errors.Join(r.stream.Err(), ctx.Err())
	}
	if err == nil && r.stream.Msg().GetEvent().GetStart() == nil {
		err = errors.New("the agent does not say that it began")
	}
	if err != nil {
		r.Leave()
		return nil, refused(err)
	}
	return r, nil
}

// refused is the error of a command that did not begin, in the words of E2B's server: "unauthenticated: invalid username: 'x'".
func refused(err error) error {
	if ce := new(connect.Error); errors.As(err, &ce) {
		return fmt.Errorf("command failed: %s: %s", ce.Code(), ce.Message())
	}
	return fmt.Errorf("command failed: %w", err)
}

// Wait writes the output and returns when the command has ended: *ExitError if it failed.
func (r *Running) Wait() error {
	for r.stream.Receive() {
		event := r.stream.Msg().GetEvent()
		if data := event.GetData(); data != nil && r.output != nil {
			_, _ = r.output.Write(data.GetStdout())
			_, _ = r.output.Write(data.GetStderr())
		}
		if end := event.GetEnd(); end != nil {
			if end.GetExitCode() == 0 {
				return nil
			}
			return &ExitError{end.GetStatus()}
		}
	}
	if err := r.stream.Err(); err != nil {
		return fmt.Errorf("follow the command: %w", err)
	}
	return errors.New("follow the command: the guest's answer ended before the command did")
}

// Leave ends the connection. A command that still runs goes on.
func (r *Running) Leave() {
	r.cancel()
	if r.stream != nil {
		_ = r.stream.Close()
	}
	r.transport.CloseIdleConnections()
}

// Failed is the error of a command, with the last lines of its output, in the words of E2B's server; nil if it has none.
func Failed(ctx context.Context, command string, err error, tail []string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("failed to run command '%.1000s': %w", command, err)
	if exit := new(ExitError); errors.As(err, &exit) && len(tail) > 0 {
		return fmt.Errorf("%w; its last lines: %s", err, strings.Join(tail, "\n"))
	}
	return err
}
