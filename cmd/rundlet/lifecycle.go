package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
)

// resumedFor is what a sandbox lives that was resumed or forked without more
// words; the same as for a new one.
const resumedFor = 5 * time.Minute

// changed is what --json tells of a sandbox after a command.
type changed struct {
	ID    string `json:"sandboxID"`
	State string `json:"state"`
}

// forEach does the same to several sandboxes. One that fails does not keep the
// others from it.
func (o *options) forEach(cmd *cobra.Command, ids []string, what, state string, do func(context.Context, client.API, string) error) error {
	api, err := o.api()
	if err != nil {
		return err
	}
	done := []changed{}
	var errs []error
	for _, id := range ids {
		if err := do(cmd.Context(), api, id); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", what, id, unreachable(api, err)))
			continue
		}
		done = append(done, changed{id, state})
	}
	if o.json {
		errs = append(errs, printJSON(cmd.OutOrStdout(), done))
	}
	return errors.Join(errs...)
}

func newSandboxPause(o *options) *cobra.Command {
	var filesOnly bool
	cmd := &cobra.Command{
		Use: "pause ID...", Short: "Save sandboxes and end their machines", Args: cobra.MinimumNArgs(1),
		Long: `Save sandboxes, with all that runs in them, and end their machines.

A paused sandbox takes no memory and no CPU. "rundlet sandbox resume" lets it
run on; without its memory (--files-only) it boots afresh then.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			return o.forEach(cmd, ids, "pause", "paused", func(ctx context.Context, api client.API, id string) error {
				return api.Pause(ctx, id, !filesOnly)
			})
		},
	}
	cmd.Flags().BoolVar(&filesOnly, "files-only", false, "save the files and drop the memory")
	return cmd
}

func newSandboxResume(o *options) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "resume ID...", Short: "Let paused sandboxes run on", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := wholeSeconds(timeout); err != nil {
				return err
			}
			return o.forEach(cmd, ids, "resume", "running", func(ctx context.Context, api client.API, id string) error {
				_, _, err := api.Connect(ctx, id, timeout)
				return err
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", resumedFor, "how long they live from now on, at least")
	return cmd
}

func newSandboxFork(o *options) *cobra.Command {
	var count int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "fork ID", Short: "Make copies of a running sandbox and print their ids", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wholeSeconds(timeout); err != nil {
				return err
			}
			api, err := o.api()
			if err != nil {
				return err
			}
			results, err := api.Fork(cmd.Context(), args[0], count, timeout)
			if err != nil {
				return fmt.Errorf("fork %s: %w", args[0], unreachable(api, err))
			}
			children := []changed{}
			var errs []error
			for i, r := range results {
				switch {
				case r.Error != nil:
					errs = append(errs, fmt.Errorf("child %d of %d of %s: %w", i+1, len(results), args[0], r.Error))
				case r.Sandbox != nil:
					children = append(children, changed{r.Sandbox.ID, "running"})
					if !o.json {
						fmt.Fprintln(cmd.OutOrStdout(), r.Sandbox.ID)
					}
				}
			}
			if o.json {
				errs = append(errs, printJSON(cmd.OutOrStdout(), children))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 1, "how many, up to 100")
	cmd.Flags().DurationVar(&timeout, "timeout", resumedFor, "how long they live")
	return cmd
}

// wholeSeconds checks what the API counts in seconds.
func wholeSeconds(timeout time.Duration) error {
	if timeout < time.Second {
		return fmt.Errorf("--timeout %s: a sandbox lives at least 1s", timeout)
	}
	return nil
}
