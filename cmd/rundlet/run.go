package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

func newRun(o *command.Options) *cobra.Command {
	var ef command.ExecFlags
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
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			env, err := ef.Environment()
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
	ef.Add(cmd)
	nameserverFlag(cmd.Flags(), &nameservers)
	cmd.Flags().BoolVar(&noInternet, "no-internet", false, "deny all network access")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "kill the sandbox after this time")
	return cmd
}

func runOnce(cmd *cobra.Command, cfg node.Config, req sandbox.CreateRequest, ef command.ExecFlags, args []string) (err error) {
	n, err := node.Open(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close(node.EndAll)) }()
	sb, err := n.Runtime.Create(cmd.Context(), req)
	if err != nil {
		return err
	}
	return command.Execute(cmd, n.Agent(sb), ef, nil, args)
}
