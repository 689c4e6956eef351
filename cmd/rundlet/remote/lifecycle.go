package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// resumedFor is the default timeout of a resumed or forked sandbox; a new one has the
// same.
const resumedFor = 5 * time.Minute

// changed is a sandbox after a command, as --json prints it.
type changed struct {
	ID    string `json:"sandboxID"`
	State string `json:"state"`
}

// forEach calls do for each sandbox and continues after an error.
func forEach(cmd *cobra.Command, o *command.Options, ids []string, what, state string, do func(context.Context, client.API, string) error) error {
	api, err := o.API()
	if err != nil {
		return err
	}
	done := []changed{}
	var errs []error
	for _, id := range ids {
		if err := do(cmd.Context(), api, id); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", what, id, command.Unreachable(api, err)))
			continue
		}
		done = append(done, changed{id, state})
	}
	if o.JSON {
		errs = append(errs, command.PrintJSON(cmd.OutOrStdout(), done))
	}
	return errors.Join(errs...)
}

func newSandboxPause(o *command.Options) *cobra.Command {
	var filesOnly bool
	cmd := &cobra.Command{
		Use: "pause ID...", Short: "Pause sandboxes: save them and free their memory and CPU", Args: cobra.MinimumNArgs(1),
		Long: `Pause sandboxes: save their files and memory, running processes included, and stop
them.

A paused sandbox uses no memory and no CPU. "rundlet sandbox resume" continues it
where it was; one that was paused with --files-only boots again.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return forEach(cmd, o, ids, "pause", "paused", func(ctx context.Context, api client.API, id string) error {
				return api.Pause(ctx, id, !filesOnly)
			})
		},
	}
	cmd.Flags().BoolVar(&filesOnly, "files-only", false, "save the files but not the memory")
	return cmd
}

func newSandboxResume(o *command.Options) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "resume ID...", Short: "Resume paused sandboxes", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := wholeSeconds(timeout); err != nil {
				return err
			}
			return forEach(cmd, o, ids, "resume", "running", func(ctx context.Context, api client.API, id string) error {
				_, _, err := api.Connect(ctx, id, timeout)
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", resumedFor, "minimum time until they time out, from now")
	return cmd
}

func newSandboxFork(o *command.Options) *cobra.Command {
	var count int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "fork ID", Short: "Fork a running sandbox and print the ids of the copies", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wholeSeconds(timeout); err != nil {
				return err
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			results, err := api.Fork(cmd.Context(), args[0], count, timeout)
			if err != nil {
				return fmt.Errorf("fork %s: %w", args[0], command.Unreachable(api, err))
			}
			children := []changed{}
			var errs []error
			for i, r := range results {
				switch {
				case r.Error != nil:
					errs = append(errs, fmt.Errorf("child %d of %d of %s: %w", i+1, len(results), args[0], r.Error))
				case r.Sandbox != nil:
					children = append(children, changed{r.Sandbox.ID, "running"})
					if !o.JSON {
						fmt.Fprintln(cmd.OutOrStdout(), r.Sandbox.ID)
					}
				}
			}
			if o.JSON {
				errs = append(errs, command.PrintJSON(cmd.OutOrStdout(), children))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 1, "number of copies, at most 100")
	cmd.Flags().DurationVar(&timeout, "timeout", resumedFor, "timeout of the copies")
	return cmd
}

// wholeSeconds checks a timeout, which the API counts in seconds.
func wholeSeconds(timeout time.Duration) error {
	if timeout < time.Second {
		return fmt.Errorf("--timeout must be at least 1s, got %s", timeout)
	}
	return nil
}
