package templates

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

func newLogs(o *command.Options) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs NAME [BUILD]", Short: "Print the log of a build, by default of the newest", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			t, builds, err := api.Template(cmd.Context(), args[0])
			if err != nil {
				return about(args[0], api, err)
			}
			build := append(args, "")[1]
			if build == "" {
				if len(builds) == 0 {
					return fmt.Errorf("template %s has no build", args[0])
				}
				build = builds[0].ID
			}
			print := logPrinter(cmd, o)
			if follow {
				err = api.WatchBuild(cmd.Context(), t.ID, build, print)
			} else {
				err = printLog(cmd, api, t.ID, build, print)
			}
			if err != nil && !errors.As(err, new(*client.BuildError)) {
				err = about(args[0], api, err)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for more until the build has ended, and exit with 1 if it failed")
	return cmd
}

// printLog prints what the log of a build has now.
func printLog(cmd *cobra.Command, api client.API, templateID, buildID string, print func(client.BuildLog)) error {
	const page = 100
	for seen := 0; ; seen += page {
		s, err := api.BuildStatus(cmd.Context(), templateID, buildID, seen, page)
		if err != nil {
			return err
		}
		for _, l := range s.Logs {
			print(l)
		}
		if len(s.Logs) < page {
			return nil
		}
	}
}

// logPrinter prints lines of a log: one JSON object a line, or text.
func logPrinter(cmd *cobra.Command, o *command.Options) func(client.BuildLog) {
	out := cmd.OutOrStdout()
	if o.JSON {
		enc := json.NewEncoder(out)
		return func(l client.BuildLog) { _ = enc.Encode(l) }
	}
	return func(l client.BuildLog) {
		fmt.Fprintf(out, "%s %-8s %s\n", l.Time.Local().Format("15:04:05.000"), l.Step, oneLine(l.Message))
	}
}
