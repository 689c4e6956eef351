package templates

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/move"
)

// moves are the commands that take templates to other machines.
func moves(o *command.Options) []*cobra.Command { return []*cobra.Command{newPush(o), newPull(o)} }

func newPush(o *command.Options) *cobra.Command {
	var login command.Login
	cmd := &cobra.Command{
		Use: "push NAME[:TAG] PLACE", Short: "Push a template to a registry, a directory or a file", Args: cobra.ExactArgs(2),
		Long: `Push a template to a registry, or to a directory ("oci:DIR") or a file ("FILE.tar") for a machine
without a network. The command works on the templates of this machine, beside a running server and
without one, and needs root. What a registry has already is not sent again.

A template is the memory and the files of a machine. Secrets of its build are in it, and everybody
who can pull it can read them.

  rundlet template push app:v1 registry.example/team/app:v1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, end, err := moveConfig(cmd, o, &login)
			if err != nil {
				return err
			}
			moved, err := move.Push(cmd.Context(), args[0], args[1], cfg)
			end()
			return printMoved(cmd, o, moved, err)
		},
	}
	login.Add(cmd)
	return cmd
}

func newPull(o *command.Options) *cobra.Command {
	var login command.Login
	var name string
	var trust bool
	cmd := &cobra.Command{
		Use: "pull PLACE", Short: "Pull a template from a registry, a directory or a file", Args: cobra.ExactArgs(1),
		Long: `Pull a template from a registry, or from a directory ("oci:DIR") or a file ("FILE.tar"). The command
works beside a running server and without one, and needs root. A template that this machine cannot
restore is refused before its files come. A pull that was broken off goes on where it was.

The sandboxes of a template run what its maker put into it, behind the same walls as all sandboxes.

  rundlet template pull registry.example/team/app:v1 --name app`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, end, err := moveConfig(cmd, o, &login)
			if err != nil {
				return err
			}
			cfg.TrustEngine = trust
			if cfg.Registry.Mirrors, err = login.Mirrors(); err != nil {
				return err
			}
			moved, err := move.Pull(cmd.Context(), args[0], name, cfg)
			end()
			return printMoved(cmd, o, moved, err)
		},
	}
	login.Add(cmd)
	login.AddMirrors(cmd)
	cmd.Flags().StringVar(&name, "name", "", "NAME or NAME:TAG of the template here, and which one to take of a directory with several (default the name that it had)")
	cmd.Flags().BoolVar(&trust, "trust-engine", false, "take the sandbox program that made the template if this machine does not have it; it runs here as root, so only from a maker that you trust")
	return cmd
}

// moveConfig reads the flags; end removes the line of progress.
func moveConfig(cmd *cobra.Command, o *command.Options, login *command.Login) (cfg move.Config, end func(), err error) {
	if cfg.Dirs, err = o.Layout(); err != nil {
		return cfg, nil, err
	}
	if cfg.Registry.Credentials, err = login.Credentials(cmd.InOrStdin()); err != nil {
		return cfg, nil, err
	}
	cfg.Log = slog.Default()
	cfg.Progress, end = progressLine(cmd.ErrOrStderr(), o.JSON)
	return cfg, end, nil
}

// progressEvery is how often the line changes.
const progressEvery = 100 * time.Millisecond

// progressLine shows on a terminal how far a template is: one line that is written over.
func progressLine(out io.Writer, json bool) (show func(done, total int64), end func()) {
	f, ok := out.(*os.File)
	if json || !ok || !term.IsTerminal(int(f.Fd())) {
		return func(int64, int64) {}, func() {}
	}
	var mu sync.Mutex
	var last time.Time
	return func(done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			if time.Since(last) >= progressEvery {
				last = time.Now()
				fmt.Fprintf(f, "\r\x1b[K%.1f of %.1f MB", float64(done)/1e6, float64(total)/1e6)
			}
		}, func() {
			if !last.IsZero() {
				fmt.Fprint(f, "\r\x1b[K")
			}
		}
}

func printMoved(cmd *cobra.Command, o *command.Options, m move.Moved, err error) error {
	if err != nil {
		return err
	}
	if o.JSON {
		return command.PrintJSON(cmd.OutOrStdout(), m)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %.1f MB\n", m.Template, m.Digest, float64(m.Bytes)/1e6)
	return err
}
