package templates

import (
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

func newWarm(o *command.Options) *cobra.Command {
	var reset bool
	cmd := &cobra.Command{
		Use: "warm [NAME [N]]", Short: "Show or change how many sandboxes of a template are kept running", Args: cobra.MaximumNArgs(2),
		Long: `Show or change how many sandboxes of a template are kept running for the next creates, of
the build with the tag "default". A change holds after the next start of the server, before
its flags; --reset takes it back.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reset != (len(args) == 1) {
				return fmt.Errorf("want no argument, NAME and N, or NAME and --reset")
			}
			api, err := o.API()
			if err != nil {
				return err
			}
			switch {
			case reset:
				err = api.KeepWarm(cmd.Context(), args[0], nil)
			case len(args) == 2:
				n, notNumber := strconv.Atoi(args[1])
				if notNumber != nil {
					return fmt.Errorf("%q is not a number of sandboxes", args[1])
				}
				err = api.KeepWarm(cmd.Context(), args[0], &n)
			}
			if err != nil {
				return about(args[0], api, err)
			}
			list, err := api.WarmTemplates(cmd.Context())
			if err != nil {
				return command.Unreachable(api, err)
			}
			return printWarm(cmd, o, list)
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "keep as many as the server was started with")
	return cmd
}

func printWarm(cmd *cobra.Command, o *command.Options, list []client.WarmTemplate) error {
	if o.JSON {
		return command.PrintJSON(cmd.OutOrStdout(), list)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKEPT\tNOW\tSAID BY")
	for _, t := range list {
		by := "the start of the server"
		if t.Set {
			by = "rundlet template warm"
		}
		if t.Missing {
			by += "; the template does not exist yet"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", oneLine(t.Name), t.Ready, t.Now, by)
	}
	return w.Flush()
}
