//go:build linux

package registry

import (
	"errors"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// parseMirror parses the base URL of a mirror. The error does not have it: there may be a password in it.
func parseMirror(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the base URL of a mirror must be of the form https://host/path or https://user:password@host/path")
	}
	return u, nil
}

// shortestSecret is the shortest password that is looked for in the answers of a registry: shorter ones are in any text.
const shortestSecret = 4

// hide takes a password out of the text of an error: registries write what they like into their answers, also what they were sent.
func hide(auth authn.Authenticator, err error) error {
	if err == nil {
		return nil
	}
	config, configErr := auth.Authorization()
	if configErr != nil || len(config.Password) < shortestSecret {
		return err
	}
	return &hidden{err, config.Password}
}

type hidden struct {
	err    error
	secret string
}

// Error implements error.
func (h *hidden) Error() string {
	return strings.NewReplacer(h.secret, "xxxxx", url.QueryEscape(h.secret), "xxxxx", url.PathEscape(h.secret), "xxxxx").Replace(h.err.Error())
}

// Unwrap returns the error with its secrets, which is for errors.Is and errors.As only.
func (h *hidden) Unwrap() error { return h.err }
