//go:build linux

package registry

import (
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Credentials are those of a registry. Type is "registry", with a user name and a password or
// a token; or "gcp", with the JSON of a service account.
type Credentials struct {
	Type               string
	Username, Password string
	ServiceAccountJSON string
}

// ErrCredentials means that credentials are not of a kind that can be used.
var ErrCredentials = errors.New("cannot use these credentials")

// authenticator returns what go-containerregistry sends, as basic authentication or to the
// registry's token service.
func (c *Credentials) authenticator() (authn.Authenticator, error) {
	if c == nil {
		return authn.Anonymous, nil
	}
	switch c.Type {
	case "", "registry":
		if c.Username == "" && c.Password == "" {
			return authn.Anonymous, nil
		}
		return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password}), nil
	case "gcp":
		return authn.FromConfig(authn.AuthConfig{Username: "_json_key", Password: c.ServiceAccountJSON}), nil
	case "aws":
		return nil, fmt.Errorf("%w: keys of AWS are not supported; use the user name AWS and the output of \"aws ecr get-login-password\"", ErrCredentials)
	}
	return nil, fmt.Errorf("%w: unknown type %.100q", ErrCredentials, c.Type)
}
