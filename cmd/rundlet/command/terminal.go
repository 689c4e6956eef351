package command

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/rundlet/rundlet/client"
)

// attachTerminal puts this process's terminal into raw mode and gives the
// command one of the same size, which follows the window. The caller restores
// it; until then Ctrl-C is a byte for the guest.
func attachTerminal(ctx context.Context, c *client.Command) (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return nil, errors.New("--tty needs a terminal as standard input")
	}
	size := func() client.Winsize {
		cols, rows, err := term.GetSize(fd)
		if err != nil {
			return client.Winsize{Cols: 80, Rows: 24}
		}
		return client.Winsize{Cols: uint32(cols), Rows: uint32(rows)}
	}
	first := size()
	c.TTY = &first
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	sizes := make(chan client.Winsize)
	c.Resize = sizes
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			select {
			case <-ctx.Done():
				return
			case sizes <- size():
			}
		}
	}()
	return func() {
		cancel()
		signal.Stop(changed)
		term.Restore(fd, state)
	}, nil
}
