// Command rundlet is the daemon and the command line. It parses flags and prints
// results; wiring and decisions are in package node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/rootless"
	"github.com/rundlet/rundlet/vm"
)

// version is set by the build.
var version = "dev"

func main() {
	if code, is := rootless.Stage(); is {
		os.Exit(code)
	}
	privateFiles()
	code := run(os.Args[1:])
	if err := rootless.Of().Leave(); err != nil {
		fmt.Fprintln(os.Stderr, "rundlet: end the namespaces of the node:", err)
	}
	os.Exit(code)
}

func run(args []string) int {
	// The driver swaps os.Stdout and os.Stderr while it starts a machine; output for
	// the user goes to the original files.
	stdout, stderr := os.Stdout, os.Stderr
	ctx := untilSignal()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var code command.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "rundlet:", context.Cause(ctx))
		return 130
	}
	fmt.Fprintln(stderr, "rundlet:", command.Printable(err.Error()))
	var hinted *vm.Error
	if errors.As(err, &hinted) && hinted.Hint != "" {
		fmt.Fprintln(stderr, "hint:", hinted.Hint)
	}
	return 1
}

// signalled is the cause of a context that a signal cancelled.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return "stopped by " + s.String() }

// untilSignal returns a context that ends, with a signalled cause, at the first
// SIGINT, SIGTERM or, unless it was started to ignore it, SIGHUP. A second one kills the process.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // As by nohup.
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		cancel(signalled{<-signals})
		signal.Stop(signals)
	}()
	return ctx
}
