package images

import (
	"fmt"
	"net/netip"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/agent/embedded"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/node/roots"
	"github.com/rundlet/rundlet/node/statedir"
)

// Commands returns "rundlet image".
func Commands(o *command.Options) []*cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Load, pull, list and remove container images",
		Long: `Load, pull, list and remove container images.

An image becomes one file in the state directory, in which sandboxes boot, with the agent of
this program in it. The commands work beside a running server and without one.`}
	cmd.AddCommand(newLoad(o), newPull(o), newList(o), newRemove(o))
	return []*cobra.Command{cmd}
}

func newLoad(o *command.Options) *cobra.Command {
	var name string
	var nameservers []string
	cmd := &cobra.Command{
		Use: "load FILE|DIR", Short: "Load an image from an OCI layout or from what \"docker save\" writes", Args: cobra.ExactArgs(1),
		Long: `Load an image from an OCI layout, which is a directory or a tar file, or from what
"docker save" writes. The file may be compressed by gzip or zstd.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			images, err := openToMake(o, nameservers)
			if err != nil {
				return err
			}
			p := newProgress(cmd.ErrOrStderr(), o.JSON)
			entry, err := images.Load(cmd.Context(), args[0], name, p.show)
			p.end()
			if err != nil {
				return err
			}
			return printEntry(cmd, o, entry)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image, and which one to take of an archive with several (default the names in the archive)")
	nameserverFlag(cmd, &nameservers)
	return cmd
}

func nameserverFlag(cmd *cobra.Command, nameservers *[]string) {
	cmd.Flags().StringSliceVar(nameservers, "nameserver", nil, "DNS server for sandboxes of this image; may be a private address (default 8.8.8.8 and 1.1.1.1)")
}

func newList(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the images", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			images, err := open(o, guest.Config{})
			if err != nil {
				return err
			}
			list, err := images.List()
			if err != nil {
				return err
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), append([]catalogue.Entry{}, list...))
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tDIGEST\tSIZE\tADDED")
			for _, e := range list {
				name := e.Reference
				if name == "" {
					name = "<none>"
				}
				fmt.Fprintf(w, "%s\t%.19s\t%s\t%s\n", name, e.Digest, megabytes(e.Bytes), e.Added.Format(time.RFC3339))
			}
			return w.Flush()
		},
	}
}

func newRemove(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME|DIGEST...", Short: "Remove names of images, or all names of an image", Args: cobra.MinimumNArgs(1),
		Long: `Remove names of images; a digest, or the begin of one, stands for all names of its image.

The file of an image without a name is removed at a start of the server without sandboxes, unless a
template or a snapshot needs it.`,
		RunE: func(_ *cobra.Command, args []string) error {
			images, err := open(o, guest.Config{})
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := images.Remove(name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// openToMake opens the images for a command that adds one.
func openToMake(o *command.Options, nameservers []string) (*catalogue.Catalogue, error) {
	for _, text := range nameservers {
		if _, err := netip.ParseAddr(text); err != nil {
			return nil, fmt.Errorf("--nameserver: %w", err)
		}
	}
	dirs, err := o.Layout()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dirs.AgentDir(), 0o700); err != nil {
		return nil, err
	}
	agent, err := embedded.Extract(dirs.AgentDir())
	if err != nil {
		return nil, err
	}
	return open(o, guest.Config{AgentPath: agent, Nameservers: nameservers})
}

// open opens the images of the state directory, unless it is that of a newer program.
func open(o *command.Options, guests guest.Config) (*catalogue.Catalogue, error) {
	dirs, err := o.Layout()
	if err != nil {
		return nil, err
	}
	if err := statedir.CheckFormat(dirs); err != nil {
		return nil, err
	}
	return catalogue.Open(roots.ImagesConfig(dirs.Images(), guests))
}

func printEntry(cmd *cobra.Command, o *command.Options, entry catalogue.Entry) error {
	if o.JSON {
		return command.PrintJSON(cmd.OutOrStdout(), entry)
	}
	name := entry.Reference
	if name == "" {
		name = entry.Digest
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), name)
	if entry.Devices+entry.Attributes > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "left out: %d device nodes, and the extended attributes of %d files\n", entry.Devices, entry.Attributes)
	}
	return err
}
