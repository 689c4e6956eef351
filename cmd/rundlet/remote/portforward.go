package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/internal/halfclose"
)

func newSandboxPortForward(o *command.Options) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use: "port-forward ID [LOCAL:]REMOTE...", Short: "Forward local ports to ports of a sandbox", Args: cobra.MinimumNArgs(2),
		Long: `Forward local ports to ports of a sandbox, until Ctrl-C.

Each connection to the local port LOCAL becomes one to the port REMOTE in the sandbox,
through the server. Programs that listen on 127.0.0.1 in the sandbox are reached, too.
LOCAL is REMOTE if it is left out; 0 is any free port. A connection that fails is
reported and does not end the command.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			forwards, err := parseForwards(args[0], args[1:])
			if err != nil {
				return err
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			if _, err := api.Get(cmd.Context(), args[0]); err != nil {
				return command.Unreachable(api, err)
			}
			f := forwarder{api: api, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), json: o.JSON}
			return f.run(cmd.Context(), address, forwards)
		},
	}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1", "local address to listen on; others than loopback give the port to the network")
	return cmd
}

// forward is a local port that leads to one of a sandbox, as --json prints it.
type forward struct {
	ID      string `json:"sandboxID"`
	Address string `json:"address"` // Where it listens.
	Port    uint16 `json:"port"`

	local uint16
}

func parseForwards(id string, texts []string) ([]forward, error) {
	var out []forward
	for _, text := range texts {
		local, remote, two := strings.Cut(text, ":")
		if !two {
			remote = local
		}
		to, err := strconv.ParseUint(remote, 10, 16)
		from, localErr := strconv.ParseUint(local, 10, 16)
		if err != nil || localErr != nil || to == 0 {
			return nil, fmt.Errorf("%q must be [LOCAL:]REMOTE, two ports", text)
		}
		out = append(out, forward{ID: id, Port: uint16(to), local: uint16(from)})
	}
	return out, nil
}

// forwarder listens and forwards. Its output is written by one goroutine at a time.
type forwarder struct {
	api       client.API
	out, errs io.Writer
	json      bool

	mu sync.Mutex
}

// run forwards until ctx ends.
func (f *forwarder) run(ctx context.Context, address string, forwards []forward) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var listeners []net.Listener
	defer func() {
		for _, ln := range listeners {
			ln.Close()
		}
	}()
	for i, one := range forwards {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(one.local))))
		if err != nil {
			return err
		}
		listeners = append(listeners, ln)
		forwards[i].Address = ln.Addr().String()
	}
	failed := make(chan error, len(forwards))
	for i, one := range forwards {
		if err := f.announce(one); err != nil {
			return err
		}
		work.Go(func() { failed <- f.accept(ctx, listeners[i], one, &work) })
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return err
	}
}

func (f *forwarder) announce(one forward) error {
	if f.json {
		return json.NewEncoder(f.out).Encode(one)
	}
	_, err := fmt.Fprintf(f.out, "forwarding %s -> %s port %d\n", one.Address, one.ID, one.Port)
	return err
}

// acceptAgain is how long a listener waits when the process has no file for a connection.
const acceptAgain = 100 * time.Millisecond

// accept forwards the connections of one listener.
func (f *forwarder) accept(ctx context.Context, ln net.Listener, one forward, work *sync.WaitGroup) error {
	for {
		local, err := ln.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			f.report(ctx, one, err)
			select { // A connection that ends makes room.
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(acceptAgain):
				continue
			}
		}
		if err != nil {
			return err
		}
		work.Go(func() { f.connect(ctx, local, one) })
	}
}

// connect forwards one connection to its end.
func (f *forwarder) connect(ctx context.Context, local net.Conn, one forward) {
	guest, err := f.api.DialPort(ctx, one.ID, one.Port)
	if err != nil {
		halfclose.Break(local) // What broke off must not look complete.
		local.Close()
		f.report(ctx, one, err)
		return
	}
	halfclose.Join(local, guest, ctx.Done(), func() {
		halfclose.Break(local)
		halfclose.Break(guest)
	})
}

// report prints why a connection failed.
func (f *forwarder) report(ctx context.Context, one forward, err error) {
	if ctx.Err() != nil {
		return
	}
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.RetryAfter > 0 {
		err = fmt.Errorf("%w (try again in %s)", err, refused.RetryAfter)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(f.errs, "connection to %s port %d: %v\n", one.ID, one.Port, command.Unreachable(f.api, err))
}
