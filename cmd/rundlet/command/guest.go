package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
)

// ExecFlags are those of a command that runs in a guest.
type ExecFlags struct {
	env  []string
	user string
	cwd  string
	tty  bool
	open bool // keep stdin open
}

// Add declares the flags. Those after the first argument are the guest's.
func (e *ExecFlags) Add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringArrayVarP(&e.env, "env", "e", nil, "environment variable KEY=VALUE for the command")
	f.StringVarP(&e.user, "user", "u", "", "guest user (default: the sandbox's default user)")
	f.StringVarP(&e.cwd, "cwd", "w", "", "working directory in the guest")
	f.BoolVarP(&e.tty, "tty", "t", false, "allocate a terminal for the command")
	f.BoolVarP(&e.open, "interactive", "i", false, "pass standard input to the command")
}

// Environment is what the flags say of the environment.
func (e *ExecFlags) Environment() (map[string]string, error) {
	m := map[string]string{}
	for _, kv := range e.env {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--env %q: want KEY=VALUE", kv)
		}
		m[k] = v
	}
	return m, nil
}

// Execute runs a command in a guest, and returns its exit code as an ExitError.
func Execute(cmd *cobra.Command, agent client.Agent, ef ExecFlags, env map[string]string, args []string) error {
	c := client.Command{
		Args: args, Env: env, Cwd: ef.cwd, User: ef.user,
		Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
	}
	if ef.open || ef.tty {
		c.Stdin = os.Stdin
	}
	if ef.tty {
		restore, err := attachTerminal(cmd.Context(), &c)
		if err != nil {
			return err
		}
		defer restore()
	}
	code, err := agent.Run(cmd.Context(), c)
	if err != nil {
		return err
	}
	if code != 0 {
		return ExitError(code)
	}
	return nil
}
