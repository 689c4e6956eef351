package kernels

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
)

// Commands returns "rundlet kernel".
func Commands(o *command.Options) []*cobra.Command {
	cmd := &cobra.Command{Use: "kernel", Short: "Install, list and remove the kernels that guests boot",
		Long: `Install, list and remove the kernels that guests boot.

Only drivers that boot a guest kernel need one (--driver firecracker and --driver qemu). The one that was installed last is what new
machines boot; those that run, and snapshots with memory, keep theirs.`}
	cmd.AddCommand(newInstall(o), newList(o), newRemove(o))
	return []*cobra.Command{cmd}
}

func open(o *command.Options) (dir string, err error) {
	dirs, err := o.Layout()
	if err != nil {
		return "", err
	}
	return dirs.Kernels(), statedir.CheckFormat(dirs)
}

func newInstall(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "install FILE...|DIR", Short: "Install a kernel from packages of Debian or Ubuntu, or from a directory with them", Args: cobra.MinimumNArgs(1),
		Long: `Install a kernel from a kernel package of Debian (.deb), from the two of Ubuntu (linux-image and
linux-modules), from a directory into which they were extracted, with boot/vmlinuz-* and lib/modules, or from
an image that has its drivers built in. On Debian, "apt-cache depends linux-image-cloud-amd64" names the
package, and "apt-get download" gets it; "/" takes the kernel of this host if there is one only.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := open(o)
			if err != nil {
				return err
			}
			k, err := kernel.Install(cmd.Context(), dir, args[0], func(line string) {
				if !o.JSON {
					fmt.Fprintln(cmd.ErrOrStderr(), line)
				}
			}, args[1:]...)
			if err != nil {
				return err
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), k)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), k.ID)
			return err
		},
	}
}

func newList(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the kernels", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := open(o)
			if err != nil {
				return err
			}
			all, damaged := kernel.List(dir) // Those that can be read are shown all the same.
			if o.JSON {
				return errors.Join(command.PrintJSON(cmd.OutOrStdout(), append([]kernel.Kernel{}, all...)), damaged)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tVERSION\tMODULES\tINSTALLED\tIN USE")
			for _, k := range all {
				use := ""
				if k.Current {
					use = "new machines"
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", k.ID, k.Version, len(k.Modules), k.Installed.Format(time.RFC3339), use)
			}
			return errors.Join(w.Flush(), damaged)
		},
	}
}

func newRemove(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID...", Short: "Remove kernels", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := open(o)
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := kernel.Remove(dir, id); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
