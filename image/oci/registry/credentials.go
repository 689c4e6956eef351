//go:build linux

package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Credentials are those of a registry. Type is "registry", with a user name and a password or
// a token; "gcp", with the JSON of a service account; or "aws", with keys of an account, which
// are exchanged for a password. AWSRegion may be empty: the registry's host has it.
type Credentials struct {
	Type               string
	Username, Password string
	ServiceAccountJSON string
	AWSAccessKeyID     string
	AWSSecretAccessKey string
	AWSRegion          string
}

// ErrCredentials means that credentials are not of a kind that can be used.
var ErrCredentials = errors.New("cannot use these credentials")

// authenticator returns what go-containerregistry sends to the registry at a host, as basic
// authentication or to its token service.
func (c *Credentials) authenticator(ctx context.Context, host string, idle time.Duration) (authn.Authenticator, error) {
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
		ctx, cancel := context.WithTimeoutCause(ctx, 2*idle, errIdle)
		defer cancel()
		client := &http.Client{Transport: newTransport("", false, idle), CheckRedirect: checkRedirect}
		username, password, err := awsPassword(ctx, client, "", host, c, time.Now())
		if err != nil {
			return nil, cause(ctx, err)
		}
		return authn.FromConfig(authn.AuthConfig{Username: username, Password: password}), nil
	}
	return nil, fmt.Errorf("%w: unknown type %.100q", ErrCredentials, c.Type)
}
