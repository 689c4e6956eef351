package images

import (
	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/image/oci/registry"
)

func newPull(o *command.Options) *cobra.Command {
	var from registry.Config
	var nameservers []string
	var login command.Login
	cmd := &cobra.Command{
		Use: "pull REFERENCE", Short: "Pull an image from a registry", Args: cobra.ExactArgs(1),
		Long: `Pull an image from a registry, by a tag or a digest. Registries have TLS, but for those at
loopback addresses, such as localhost:5000.

  rundlet image pull debian:stable-slim`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if from.Mirrors, err = login.Mirrors(); err != nil {
				return err
			}
			if from.Credentials, err = login.Credentials(cmd.InOrStdin()); err != nil {
				return err
			}
			images, err := openToMake(o, nameservers)
			if err != nil {
				return err
			}
			p := newProgress(cmd.ErrOrStderr(), o.JSON)
			entry, release, err := images.Pull(cmd.Context(), args[0], from, p.show)
			p.end()
			if err != nil {
				return err
			}
			release()
			return printEntry(cmd, o, entry)
		},
	}
	login.Add(cmd)
	login.AddMirrors(cmd)
	nameserverFlag(cmd, &nameservers)
	return cmd
}
