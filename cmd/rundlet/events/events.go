// Package events has the command "events".
package events

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client/events"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// Command returns the command "events".
func Command(o *command.Options) *cobra.Command {
	var follow bool
	var types []string
	var limit int
	cmd := &cobra.Command{
		Use: "events [SANDBOX]", Short: "Show what happened to sandboxes", Args: cobra.MaximumNArgs(1),
		Long: `Show what happened to sandboxes, or to one, the newest last: that it was created, updated,
paused, resumed, saved (checkpointed) or killed, and what its network denied it (denied).
The server keeps events for 7 days, also those of sandboxes that are gone.

--follow waits for more, also while the server is started again. --json prints one event
a line.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return fmt.Errorf("--limit must not be negative, got %d", limit)
			}
			f := events.Filter{SandboxID: strings.Join(args, "")}
			for _, name := range types {
				t, err := events.TypeOf(name)
				if err != nil {
					return err
				}
				f.Types = append(f.Types, t)
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			// One is needed to go on after it.
			last, err := events.Newest(cmd.Context(), api, f, max(limit, 1))
			if err != nil {
				return fmt.Errorf("events: %w", command.Unreachable(api, err))
			}
			after := events.First
			if len(last) > 0 {
				after = last[0].ID
			}
			last = last[:min(limit, len(last))]
			for _, e := range slices.Backward(last) {
				if err := printEvent(cmd, o, e); err != nil {
					return err
				}
			}
			if !follow {
				return nil
			}
			return events.Follow(cmd.Context(), api, f, after, func(e events.Event) error { return printEvent(cmd, o, e) },
				func(err error, wait time.Duration) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s; connecting again in %s\n", command.Printable(err.Error()), wait)
				})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more events")
	cmd.Flags().StringSliceVar(&types, "type", nil, "only events of this type, such as killed; can be given several times")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many events to show at most that happened before")
	return cmd
}

func printEvent(cmd *cobra.Command, o *command.Options, e events.Event) error {
	if o.JSON {
		return command.PrintJSONLine(cmd.OutOrStdout(), e)
	}
	data := ""
	if string(e.Data) != "null" {
		data = command.Printable(string(e.Data))
	}
	line := fmt.Sprintf("%s  %s  %-22s %s", e.At.Local().Format("2006-01-02 15:04:05.000"), e.SandboxID, strings.TrimPrefix(string(e.Type), "sandbox."), data)
	_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.TrimRight(line, " "))
	return err
}
