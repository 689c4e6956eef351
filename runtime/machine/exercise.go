package machine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
)

// exerciseTimeout bounds the command of an exercise.
const exerciseTimeout = 10 * time.Second

// exerciseReply bounds one message of the agent in an exercise, and exerciseOutput all that the command writes, in bytes.
const (
	exerciseReply  = 64 << 10
	exerciseOutput = 4096
)

// Exercise runs a command in a warm machine, as a client would: it shows that
// the sandbox works, and it loads the files of a first command before a client waits
// for them. It is the readiness probe of the reference system: pwd, in /tmp. It
// succeeds on an image without the shell that clients use.
func (m *Machines) Exercise(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, exerciseTimeout)
	defer cancel()
	var out short
	err := m.Run(ctx, id, Command{Text: "pwd", Workdir: "/tmp", Stdout: &out, MaxMessage: exerciseReply})
	if code := connect.CodeOf(err); code == connect.CodeInvalidArgument || code == connect.CodeNotFound {
		return nil // There is no such shell.
	}
	if err == nil && string(out) != "/tmp\n" {
		err = fmt.Errorf("it wrote %.80q", out)
	}
	if err != nil {
		return fmt.Errorf("run a command: %w", err)
	}
	return nil
}

// short is an output of at most exerciseOutput bytes.
type short []byte

func (s *short) Write(p []byte) (int, error) {
	if len(*s)+len(p) > exerciseOutput {
		return 0, errors.New("its output is too long")
	}
	*s = append(*s, p...)
	return len(p), nil
}
