// Package client is the Go side of a Rundlet server: it runs commands through a
// sandbox's agent and asks the REST API, the way an SDK does. It may import api,
// envd, sandbox and the standard library; cmd and tests may import it.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	processpb "github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
)

// maxMessage bounds one message of an agent, in bytes: a guest may send what it
// likes. The agent's own are below 100 KiB.
const maxMessage = 4 << 20

// Agent is how to reach one sandbox's agent.
type Agent struct {
	HTTP    *http.Client
	BaseURL string
	// Header is sent with every request: routing and access token.
	Header http.Header
}

// Command is one command to run in a sandbox.
type Command struct {
	Args []string
	Env  map[string]string
	Cwd  string
	// User is the guest user; empty is the sandbox's default.
	User string
	// TTY gives the command a terminal of that size; its output is Stdout's.
	TTY *Winsize
	// Resize changes the terminal's size; it may be nil, and it may be closed.
	Resize <-chan Winsize
	// Stdin may be nil: the command then reads an empty input. It is read until
	// its end; a read that blocks outlives Run.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Started is called with the guest process id; it may be nil.
	Started func(pid uint32)
}

// Winsize is a terminal's size in characters.
type Winsize struct{ Cols, Rows uint32 }

// Run runs the command to its end and returns its exit code, in a shell's form
// (128 and the signal's number after a signal). When the context ends, the
// command is killed.
func (a Agent) Run(ctx context.Context, c Command) (int, error) {
	if len(c.Args) == 0 {
		return 0, errors.New("run a command: the command is empty")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// As the SDKs do: JSON, and no compression, which costs the guest more time
	// than it saves on the way.
	rpc := processpbconnect.NewProcessClient(a.HTTP, a.BaseURL, connect.WithProtoJSON(), connect.WithReadMaxBytes(maxMessage),
		connect.WithAcceptCompression("gzip", nil, nil), connect.WithInterceptors(a.headers(c.User)))
	withInput := c.Stdin != nil
	start := &processpb.StartRequest{
		Process: &processpb.ProcessConfig{Cmd: c.Args[0], Args: c.Args[1:], Envs: c.Env},
		Stdin:   &withInput,
	}
	if c.Cwd != "" {
		start.Process.Cwd = &c.Cwd
	}
	if c.TTY != nil {
		start.Pty = pty(*c.TTY)
	}
	stream, err := rpc.Start(ctx, connect.NewRequest(start))
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", c.Args[0], plain(err))
	}
	defer stream.Close()
	var pid uint32
	var end *processpb.ProcessEvent_EndEvent
	for stream.Receive() {
		switch ev := stream.Msg().GetEvent().GetEvent().(type) {
		case *processpb.ProcessEvent_Start:
			pid = ev.Start.GetPid()
			if c.Started != nil {
				c.Started(pid)
			}
			if withInput {
				go feed(ctx, rpc, pid, c)
			}
			if c.Resize != nil {
				go resize(ctx, rpc, pid, c.Resize)
			}
		case *processpb.ProcessEvent_Data:
			if err := write(c, ev.Data); err != nil {
				kill(ctx, rpc, pid)
				return 0, err
			}
		case *processpb.ProcessEvent_End:
			// Read to the end of the stream, so that the connections under it
			// serve the next command too.
			end = ev.End
		}
	}
	if end != nil {
		return exitCode(end), nil
	}
	if ctx.Err() != nil {
		kill(ctx, rpc, pid)
		return 0, ctx.Err()
	}
	if err := stream.Err(); err != nil {
		return 0, fmt.Errorf("follow %s: %w", c.Args[0], plain(err))
	}
	return 0, fmt.Errorf("follow %s: the stream ended before the command did", c.Args[0])
}

func write(c Command, data *processpb.ProcessEvent_DataEvent) error {
	var w io.Writer
	var b []byte
	switch out := data.GetOutput().(type) {
	case *processpb.ProcessEvent_DataEvent_Stdout:
		w, b = c.Stdout, out.Stdout
	case *processpb.ProcessEvent_DataEvent_Stderr:
		w, b = c.Stderr, out.Stderr
	case *processpb.ProcessEvent_DataEvent_Pty:
		w, b = c.Stdout, out.Pty
	}
	if w == nil {
		return nil
	}
	_, err := w.Write(b)
	return err
}

// feed sends the input, then its end.
func feed(ctx context.Context, rpc processpbconnect.ProcessClient, pid uint32, c Command) {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Stdin.Read(buf)
		if n > 0 {
			in := &processpb.ProcessInput{Input: &processpb.ProcessInput_Stdin{Stdin: buf[:n]}}
			if c.TTY != nil {
				in = &processpb.ProcessInput{Input: &processpb.ProcessInput_Pty{Pty: buf[:n]}}
			}
			if _, err := rpc.SendInput(ctx, connect.NewRequest(&processpb.SendInputRequest{Process: selector(pid), Input: in})); err != nil {
				return // the command has ended
			}
		}
		if err != nil {
			if c.TTY == nil {
				// The command may have ended before its input did.
				_, _ = rpc.CloseStdin(ctx, connect.NewRequest(&processpb.CloseStdinRequest{Process: selector(pid)}))
			}
			return
		}
	}
}

func resize(ctx context.Context, rpc processpbconnect.ProcessClient, pid uint32, sizes <-chan Winsize) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-sizes:
			if !ok {
				return
			}
			// A size that does not arrive is corrected by the next one.
			_, _ = rpc.Update(ctx, connect.NewRequest(&processpb.UpdateRequest{Process: selector(pid), Pty: pty(size)}))
		}
	}
}

const killTimeout = 5 * time.Second

// kill ends a command whose caller went away. Best effort: the sandbox's
// timeout is the backstop.
func kill(ctx context.Context, rpc processpbconnect.ProcessClient, pid uint32) {
	if pid == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	_, _ = rpc.SendSignal(ctx, connect.NewRequest(&processpb.SendSignalRequest{
		Process: selector(pid), Signal: processpb.Signal_SIGNAL_SIGKILL,
	}))
}
