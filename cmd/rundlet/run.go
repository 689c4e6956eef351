package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

// execFlags are shared by "run" and "sandbox exec".
type execFlags struct {
	env  []string
	user string
	cwd  string
	tty  bool
	open bool // keep stdin open
}

func (e *execFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringArrayVarP(&e.env, "env", "e", nil, "environment variable KEY=VALUE for the command")
	f.StringVarP(&e.user, "user", "u", "", "guest user (default: the sandbox's default user)")
	f.StringVarP(&e.cwd, "cwd", "w", "", "working directory in the guest")
	f.BoolVarP(&e.tty, "tty", "t", false, "allocate a terminal for the command")
	f.BoolVarP(&e.open, "interactive", "i", false, "pass standard input to the command")
}

func (e *execFlags) environment() (map[string]string, error) {
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

func newRun(o *options) *cobra.Command {
	var ef execFlags
	var noInternet bool
	var nameservers []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "Run one command in a temporary sandbox, without a server",
		Long: `Run one command in a temporary sandbox, without a server. The command's output and
exit code are passed through. The sandbox is removed when the command ends.

  rundlet run -- python3 -c 'print(6*7)'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			env, err := ef.environment()
			if err != nil {
				return err
			}
			resolvers, err := parseNameservers(nameservers)
			if err != nil {
				return err
			}
			allow := !noInternet
			return runOnce(cmd, node.Config{
				Dirs: dirs, Ephemeral: true, NoUplink: noInternet, NetworkSlots: 1, Nameservers: resolvers,
				Progress: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) },
			}, sandbox.CreateRequest{Template: template.BaseAlias, Timeout: timeout, AllowInternet: &allow, Secure: true, Env: env},
				ef, args)
		},
	}
	ef.add(cmd)
	nameserverFlag(cmd.Flags(), &nameservers)
	cmd.Flags().BoolVar(&noInternet, "no-internet", false, "deny all network access")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "kill the sandbox after this time")
	return cmd
}

func runOnce(cmd *cobra.Command, cfg node.Config, req sandbox.CreateRequest, ef execFlags, args []string) (err error) {
	n, err := node.Open(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close(node.EndAll)) }()
	sb, err := n.Runtime.Create(cmd.Context(), req)
	if err != nil {
		return err
	}
	return execute(cmd, n.Agent(sb), ef, nil, args)
}

// execute runs a command and returns its exit code as an exitError.
func execute(cmd *cobra.Command, agent client.Agent, ef execFlags, env map[string]string, args []string) error {
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
		return exitError(code)
	}
	return nil
}
