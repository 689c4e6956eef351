package machine

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/envd"
)

// maxMessage bounds one message of an agent, in bytes: the guest is not trusted.
const maxMessage = 4 << 20

// Command is a command for the guest's shell.
type Command struct {
	Text string
	// User runs it, in the directory Workdir; empty is the default of the agent.
	User, Workdir string
	Env           map[string]string
	// Stdout and Stderr receive what it writes; they may be nil. They must not keep what they are given. An error of one
	// is that of Wait.
	Stdout, Stderr io.Writer
	// MaxMessage bounds one message of the agent, in bytes; 0 is 4 MiB.
	MaxMessage int
}

// ExitError says that a command failed.
type ExitError struct{ Status string }

func (e *ExitError) Error() string { return e.Status }

// Running is a command that was started.
type Running struct {
	transport *http.Transport
	stream    *connect.ServerStreamForClient[processpb.StartResponse]
	command   Command
	cancel    context.CancelFunc
}

// Run runs a command in a guest to its end; *ExitError. A command that goes on when ctx ends is not ended for that.
func (m *Machines) Run(ctx context.Context, id string, c Command) error {
	r, err := m.Begin(ctx, id, c)
	if err != nil {
		return err
	}
	defer r.Leave()
	return r.Wait()
}

// Begin starts a command in a guest. The caller calls Leave in the end; ctx bounds all of it, and the agent ends the command at
// its deadline, if it has one.
func (m *Machines) Begin(ctx context.Context, id string, c Command) (*Running, error) {
	dial := m.Agent(id)
	r := &Running{command: c, transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}}
	rpc := processpbconnect.NewProcessClient(&http.Client{Transport: r.transport}, "http://agent", connect.WithProtoJSON(), connect.WithReadMaxBytes(cmp.Or(c.MaxMessage, maxMessage)))
	noInput := false
	req := connect.NewRequest(&processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"-l", "-c", c.Text}, Envs: c.Env}, Stdin: &noInput,
	})
	req.Header().Set(envd.AccessTokenHeader, m.cfg.Tokens.Envd(id)) // It counts in a guest that asks for one.
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
		return nil, fmt.Errorf("command failed: %w", err) // As E2B's server: "command failed: unauthenticated: invalid username: 'x'".
	}
	return r, nil
}

// Wait writes the output and returns when the command has ended: *ExitError if it failed.
func (r *Running) Wait() error {
	for r.stream.Receive() {
		event := r.stream.Msg().GetEvent()
		if err := errors.Join(write(r.command.Stdout, event.GetData().GetStdout()), write(r.command.Stderr, event.GetData().GetStderr())); err != nil {
			return err
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

func write(w io.Writer, b []byte) error {
	if w == nil || len(b) == 0 {
		return nil
	}
	_, err := w.Write(b)
	return err
}

// Leave ends the connection. A command that still runs goes on.
func (r *Running) Leave() {
	r.cancel()
	if r.stream != nil {
		_ = r.stream.Close()
	}
	r.transport.CloseIdleConnections()
}
