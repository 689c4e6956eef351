package command

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/image/oci/registry"
)

// maxPassword bounds a password or token on standard input.
const maxPassword = 1 << 16

// Login are the flags of commands that use a registry.
type Login struct {
	mirrors       []string
	username      string
	passwordStdin bool
}

// Add declares the flags of credentials.
func (l *Login) Add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.username, "username", "", "user name at the registry; needs --password-stdin")
	cmd.Flags().BoolVar(&l.passwordStdin, "password-stdin", false, "read a password or a token from standard input")
}

// AddMirrors declares the flag of mirrors.
func (l *Login) AddMirrors(cmd *cobra.Command) {
	MirrorFlag(cmd.Flags(), &l.mirrors, "")
}

// Mirrors are what the flag of AddMirrors says.
func (l *Login) Mirrors() (map[string]string, error) { return Mirrors(l.mirrors) }

// Credentials are what the flags say; nil without any.
func (l *Login) Credentials(in io.Reader) (*registry.Credentials, error) {
	if l.username == "" && !l.passwordStdin {
		return nil, nil
	}
	if l.username == "" || !l.passwordStdin {
		return nil, errors.New("--username and --password-stdin need each other")
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPassword+1))
	if err != nil {
		return nil, fmt.Errorf("--password-stdin: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" || len(password) > maxPassword {
		return nil, fmt.Errorf("--password-stdin: the password must have 1 to %d bytes", maxPassword)
	}
	return &registry.Credentials{Username: l.username, Password: password}, nil
}
