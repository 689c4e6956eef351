package remote

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/policy/egress/bundle"
)

// bundled is a bundle, as --json prints it.
type bundled struct {
	Entry string   `json:"entry"` // As --allow and allowOut take it.
	Hosts []string `json:"hosts"`
}

func newSandboxBundles(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "bundles", Short: "List the bundles of host names that --allow takes", Args: cobra.NoArgs,
		Long: `List the bundles of host names that --allow takes, and the host names in each.

A "*." before a name stands for all names below it. The list is that of this program;
a server of another version may have another one.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []bundled
			for _, name := range bundle.Names() {
				list = append(list, bundled{bundle.Prefix + name, bundle.Hosts(name)})
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "BUNDLE\tHOSTS")
			for _, b := range list {
				fmt.Fprintf(w, "%s\t%s\n", b.Entry, strings.Join(b.Hosts, " "))
			}
			return w.Flush()
		},
	}
}
