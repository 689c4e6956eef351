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
	"time"

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
	// Args is a program and its arguments, in place of Text and without a shell.
	Args []string
	// Tag names it for Kill; empty if it has none.
	Tag string
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
	rpc, transport := m.processes(id, cmp.Or(c.MaxMessage, maxMessage))
	r := &Running{command: c, transport: transport}
	args := []string{"/bin/bash", "-l", "-c", c.Text}
	if len(c.Args) > 0 {
		args = c.Args
	}
	noInput := false
	req := connect.NewRequest(&processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: args[0], Args: args[1:], Envs: c.Env}, Stdin: &noInput,
	})
	if c.Tag != "" {
		req.Msg.Tag = &c.Tag
	}
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

// processes returns a client of the agent's process service, and the transport whose idle connections its user closes.
func (m *Machines) processes(id string, maxMessage int) (processpbconnect.ProcessClient, *http.Transport) {
	dial := m.Agent(id)
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return processpbconnect.NewProcessClient(&http.Client{Transport: transport}, "http://agent", connect.WithProtoJSON(), connect.WithReadMaxBytes(maxMessage)), transport
}

// killPause is how long Kill waits before it looks again.
const killPause = 20 * time.Millisecond

// Kill ends the commands in a guest that have a tag, each with its process group, and returns when there are none. ctx bounds it.
func (m *Machines) Kill(ctx context.Context, id, tag string) error {
	rpc, transport := m.processes(id, maxMessage)
	defer transport.CloseIdleConnections()
	for {
		req := connect.NewRequest(&processpb.SendSignalRequest{
			Process: &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Tag{Tag: tag}}, Signal: processpb.Signal_SIGNAL_SIGKILL,
		})
		req.Header().Set(envd.AccessTokenHeader, m.cfg.Tokens.Envd(id))
		_, err := rpc.SendSignal(ctx, req)
		if connect.CodeOf(err) == connect.CodeNotFound {
			return nil
		}
		if err != nil {
			return fmt.Errorf("end the commands with tag %s: %w", tag, err)
		}
		select {
		case <-time.After(killPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
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
