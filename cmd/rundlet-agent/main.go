//go:build linux

// Command rundlet-agent is the program that runs as PID 1 in a sandbox and
// serves the envd API. Under the name sudo it runs a command as another user, and with the
// argument "interpreter" it serves a code interpreter.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rundlet/rundlet/agent"
	"github.com/rundlet/rundlet/agent/firstboot"
	"github.com/rundlet/rundlet/agent/interpreter"
	"github.com/rundlet/rundlet/agent/reaper"
	"github.com/rundlet/rundlet/agent/sudo"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/internal/collector"
)

// The agent's memory is the sandbox's: collect early, and hold on to little.
const (
	gcPercent   = 50
	memoryLimit = 96 << 20
)

func main() {
	if filepath.Base(os.Args[0]) == "sudo" {
		os.Exit(sudo.Main(os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "interpreter" {
		os.Exit(interpreter.Main(os.Args[2:]))
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "rundlet-agent:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", ":"+strconv.Itoa(envd.Port), "address to serve the envd API on")
	version := flag.Bool("version", false, "print the envd version and exit")
	flag.Parse()
	if *version {
		fmt.Println(envd.Version)
		return nil
	}
	collector.Rest(gcPercent, memoryLimit)
	ctx, stop := withSignals(os.Getpid() == 1)
	defer stop()
	if os.Getpid() == 1 {
		if err := firstboot.Apply("/"); err != nil {
			fmt.Fprintln(os.Stderr, "rundlet-agent:", err) // The guest is of use without it.
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r := reaper.New(os.Getpid() == 1)
	defer r.Close()
	s := agent.New(agent.Config{Reaper: r})
	// The kernel shows the end of the agent to the host, and the agent has no
	// other place to report to.
	context.AfterFunc(ctx, func() { _ = l.Close(); _ = s.Close() })
	err = s.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// withSignals returns a context that ends with SIGTERM or SIGINT. For PID 1 it
// does not: Linux keeps the signals of a guest from its init unless that handles
// them, but Go's runtime handles all. They are caught and not ignored, which
// processes would inherit. SIGKILL and SIGSTOP are for the kernel to keep away.
func withSignals(init bool) (context.Context, context.CancelFunc) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if !init {
		return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	}
	caught := make(chan os.Signal, 1) // never read
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		// SIGCHLD is the reaper's, and SIGURG the scheduler's.
		if sig != syscall.SIGCHLD && sig != syscall.SIGURG {
			signal.Notify(caught, sig)
		}
	}
	return context.WithCancel(context.Background())
}
