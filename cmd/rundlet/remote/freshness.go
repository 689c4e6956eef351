package remote

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/sandbox"
)

// freshnessPause is how often "sandbox freshness --wait" asks.
const freshnessPause = 250 * time.Millisecond

func newSandboxFreshness(o *command.Options) *cobra.Command {
	var again, complete, wait bool
	var fail string
	cmd := &cobra.Command{
		Use: "freshness ID", Short: "Show or change whether the checkout of a sandbox is up to date", Args: cobra.ExactArgs(1),
		Long: `Show whether the checkout of a repository in a sandbox is up to date, or change it.

A sandbox of a repository template is restored, syncing, ready or failed. Files can be read
at any time. Commands and writes wait until it is ready, and are refused if the sync failed.

--sync begins a sync again that has failed. --complete lets clients write to the checkout as
it is, and --fail keeps it read-only, for a reason. Both end a sync that is under way.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			action := ""
			for name, given := range map[string]bool{client.SyncAgain: again, client.SyncComplete: complete, client.SyncFail: fail != ""} {
				if given && action != "" {
					return errors.New("use one of --sync, --complete and --fail")
				}
				if given {
					action = name
				}
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			if action != "" {
				if err := api.ChangeFreshness(cmd.Context(), args[0], action, fail); err != nil {
					return command.Unreachable(api, err)
				}
			}
			f, err := api.Freshness(cmd.Context(), args[0])
			for err == nil && wait && (f.Phase == sandbox.FreshnessRestored || f.Phase == sandbox.FreshnessSyncing) {
				select {
				case <-time.After(freshnessPause):
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				}
				f, err = api.Freshness(cmd.Context(), args[0])
			}
			if err != nil {
				return command.Unreachable(api, err)
			}
			if err := printFreshness(cmd, o, f); err != nil {
				return err
			}
			if wait && f.Phase == sandbox.FreshnessFailed {
				return errors.New("the checkout is not up to date: rundlet sandbox freshness " + args[0] + " --sync tries again")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&again, "sync", false, "begin the sync again, which has failed")
	cmd.Flags().BoolVar(&complete, "complete", false, "let clients write to the checkout as it is")
	cmd.Flags().StringVar(&fail, "fail", "", "keep the sandbox read-only, for this reason")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is ready or failed")
	return cmd
}

func printFreshness(cmd *cobra.Command, o *command.Options, f client.Freshness) error {
	if o.JSON {
		return command.PrintJSON(cmd.OutOrStdout(), f)
	}
	out := cmd.OutOrStdout()
	if _, err := fmt.Fprintln(out, f.Phase); err != nil {
		return err
	}
	for _, line := range []struct{ name, value string }{{"reason", f.Reason}, {"checkout", f.Checkout}, {"branch", f.Branch}, {"target", f.Target}} {
		if line.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n", line.name, line.value); err != nil {
			return err
		}
	}
	return nil
}
