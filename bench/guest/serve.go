package guest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/rundlet/rundlet/client"
)

// program is where Serve puts the program in a guest.
const program = "/tmp/rundlet-bench-server"

// Serve copies a program of this host, which must be linked statically, into a sandbox and runs it with args until stop is called. It returns when
// the program has printed something.
func Serve(ctx context.Context, agent client.Agent, path string, args ...string) (stop func(), err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := Transfer(ctx, agent, http.MethodPost, program, content); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var errs bytes.Buffer
		c := client.Command{
			Args: append([]string{"/bin/sh", "-c", `chmod +x "$0" && exec "$0" "$@"`, program}, args...), User: "root",
			Stdout: &firstByte{seen: func() { close(ready) }}, Stderr: &limited{&errs, 1 << 10},
		}
		code, err := agent.Run(ctx, c)
		if err == nil {
			err = fmt.Errorf("exit code %d: %s", code, &errs)
		}
		ended <- fmt.Errorf("the server in the sandbox: %w", err)
	}()
	select {
	case <-ready:
		return func() { cancel(); <-ended }, nil
	case err := <-ended:
		cancel()
		return nil, err
	}
}
