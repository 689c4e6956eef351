//go:build linux

// Package interpreter serves E2B's code interpreter protocol in the guest: code runs in kernels that keep their
// state, and output comes as lines of JSON. A template starts it as a program: the agent with
// the argument "interpreter". It may import its own subpackages, internal/collector and agent/generation; only
// cmd/rundlet-agent and tests import it.
package interpreter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/jupyter"
	"github.com/rundlet/rundlet/agent/interpreter/kernel"
	"github.com/rundlet/rundlet/agent/interpreter/shell"
	"github.com/rundlet/rundlet/internal/collector"
)

const (
	// Port is where E2B's SDKs look for a code interpreter.
	Port = 49999

	// maxBody bounds a request in bytes, maxHeader its header.
	maxBody, maxHeader = 8 << 20, 64 << 10
	// startTimeout is for a kernel to start, on a busy machine.
	startTimeout = 90 * time.Second
	// bodyTime is how long the body of a request may take to come.
	bodyTime = time.Minute
	// writeStall is how long a client may leave its output unread; then it counts as gone.
	writeStall = 5 * time.Minute

	// The server's memory is the sandbox's.
	gcPercent, memoryLimit = 50, 128 << 20
)

// Main is the program; it returns its exit status.
func Main(args []string) int {
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "code interpreter:", err)
		return 1
	}
	return 0
}

func run(args []string) error {
	flags := flag.NewFlagSet("interpreter", flag.ContinueOnError)
	listen := flags.String("listen", ":"+strconv.Itoa(Port), "address to serve on")
	python := flags.String("python", "python3", "Python with ipykernel")
	if err := flags.Parse(args); err != nil {
		return err
	}
	collector.Rest(gcPercent, memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	dir, err := os.MkdirTemp("", "interpreter-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	command, err := jupyter.Install(dir, *python)
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	s := New(Config{
		Dir: here,
		Start: func(ctx context.Context, language, cwd, generation string) (kernel.Kernel, error) {
			return start(ctx, command, language, cwd, generation)
		},
	})
	defer s.Close()
	// Sandboxes of the template begin with a kernel that runs.
	if err := s.Warm(ctx); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer l.Close()
	context.AfterFunc(ctx, func() { _ = l.Close() })
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 30 * time.Second, ReadTimeout: bodyTime, IdleTimeout: 640 * time.Second, MaxHeaderBytes: maxHeader}
	defer server.Close()
	if err := server.Serve(l); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// start starts the kernel of a language.
func start(ctx context.Context, python []string, language, cwd, generation string) (kernel.Kernel, error) {
	if language == bash {
		k, err := shell.Start(ctx, shell.Config{Bash: "bash", Dir: cwd, Env: os.Environ()})
		if err != nil {
			return nil, err
		}
		return k, nil
	}
	k, err := jupyter.Start(ctx, jupyter.Config{Command: python, Dir: cwd, Env: os.Environ(), Generation: generation})
	if err != nil {
		return nil, err
	}
	return k, nil
}
