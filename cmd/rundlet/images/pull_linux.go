package images

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/image/oci/registry"
)

// maxPassword bounds a password or token on standard input.
const maxPassword = 1 << 16

func newPull(o *command.Options) *cobra.Command {
	var from registry.Config
	var nameservers, mirrors []string
	var username string
	var passwordStdin bool
	cmd := &cobra.Command{
		Use: "pull REFERENCE", Short: "Pull an image from a registry", Args: cobra.ExactArgs(1),
		Long: `Pull an image from a registry, by a tag or a digest. Registries have TLS, but for those at
loopback addresses, such as localhost:5000.

  rundlet image pull debian:stable-slim`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if from.Mirrors, err = command.Mirrors(mirrors); err != nil {
				return err
			}
			if username != "" || passwordStdin {
				password, err := readPassword(cmd.InOrStdin(), username, passwordStdin)
				if err != nil {
					return err
				}
				from.Credentials = &registry.Credentials{Username: username, Password: password}
			}
			images, err := openToMake(o, nameservers)
			if err != nil {
				return err
			}
			p := newProgress(cmd.ErrOrStderr(), o.JSON)
			entry, err := images.Pull(cmd.Context(), args[0], from, p.show)
			p.end()
			if err != nil {
				return err
			}
			return printEntry(cmd, o, entry)
		},
	}
	f := cmd.Flags()
	f.StringVar(&username, "username", "", "user name at the registry; needs --password-stdin")
	f.BoolVar(&passwordStdin, "password-stdin", false, "read a password or a token from standard input")
	command.MirrorFlag(f, &mirrors, "")
	nameserverFlag(cmd, &nameservers)
	return cmd
}

func readPassword(in io.Reader, username string, fromStdin bool) (string, error) {
	if username == "" || !fromStdin {
		return "", errors.New("--username and --password-stdin need each other")
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("--password-stdin: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("--password-stdin: the password must have 1 to %d bytes", maxPassword)
	}
	return password, nil
}
