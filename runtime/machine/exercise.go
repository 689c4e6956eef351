package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/envd"
)

// exerciseTimeout bounds the command of an exercise.
const exerciseTimeout = 10 * time.Second

// exerciseReply bounds one read of an agent's answer, in bytes.
const exerciseReply = 64 << 10

// Exercise runs a command in a warm machine, as a client would: it shows that
// the sandbox works, and it loads the files of a first command before a client waits
// for them. It is the readiness probe of the reference system: pwd, in /tmp. It
// succeeds on an image without the shell that clients use.
func (m *Machines) Exercise(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, exerciseTimeout)
	defer cancel()
	dial := m.Agent(id)
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: exerciseReply,
	}
	defer transport.CloseIdleConnections()
	agent := processpbconnect.NewProcessClient(&http.Client{Transport: transport}, "http://agent", connect.WithProtoJSON(), connect.WithReadMaxBytes(exerciseReply))
	cwd := "/tmp"
	req := connect.NewRequest(&processpb.StartRequest{Process: &processpb.ProcessConfig{
		Cmd: "/bin/bash", Args: []string{"-l", "-c", "pwd"}, Cwd: &cwd,
	}})
	req.Header().Set(envd.AccessTokenHeader, m.cfg.Tokens.Envd(id))
	stream, err := agent.Start(ctx, req)
	if err != nil {
		return fmt.Errorf("run a command: %w", err)
	}
	defer stream.Close()
	var out []byte
	for stream.Receive() {
		event := stream.Msg().GetEvent()
		out = append(out, event.GetData().GetStdout()...)
		if len(out) > 4096 {
			return errors.New("run a command: its output exceeds 4096 bytes")
		}
		if end := event.GetEnd(); end != nil {
			if end.GetExitCode() != 0 || string(out) != "/tmp\n" {
				return fmt.Errorf("run a command: it ended with %d and wrote %.80q", end.GetExitCode(), out)
			}
			return nil
		}
	}
	if err := stream.Err(); connect.CodeOf(err) == connect.CodeInvalidArgument || connect.CodeOf(err) == connect.CodeNotFound {
		return nil // There is no such shell.
	} else if err != nil {
		return fmt.Errorf("run a command: %w", err)
	}
	return errors.New("run a command: no end event")
}
