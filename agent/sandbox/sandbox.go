// Package sandbox is what the agent knows about the sandbox it runs in: its
// environment, tokens, default user and default directory, which arrive after
// each restore. It may import agent/account; the agent's services import it.
package sandbox

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rundlet/rundlet/agent/account"
)

// Identity is the sandbox's identity as the host sent it. The zero value is that of
// an agent that is not initialised.
type Identity struct {
	Env            map[string]string
	AccessToken    string
	DefaultUser    string
	DefaultWorkdir string
}

// State holds the current Identity. It is safe for concurrent use.
type State struct {
	accounts *account.DB

	mu sync.RWMutex
	id Identity
}

// New returns a State that finds users in accounts.
func New(accounts *account.DB) *State { return &State{accounts: accounts} }

// Set replaces the identity. The caller gives id.Env away.
func (s *State) Set(id Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

// Default adds variables to the environment that it does not have.
func (s *State) Default(env map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	merged := maps.Clone(env)
	maps.Copy(merged, s.id.Env)
	s.id.Env = merged
}

func (s *State) get() Identity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.id
}

// Env returns a copy of the sandbox's environment.
func (s *State) Env() map[string]string {
	env := maps.Clone(s.get().Env)
	if env == nil {
		env = map[string]string{}
	}
	return env
}

// AccessToken returns the token that clients must show; empty means none.
func (s *State) AccessToken() string { return s.get().AccessToken }

// DefaultUser returns the user of commands that name none; empty means the guest's usual.
func (s *State) DefaultUser() string { return s.get().DefaultUser }

// DefaultWorkdir returns the template's directory; empty means the home.
func (s *State) DefaultWorkdir() string { return s.get().DefaultWorkdir }

// Accounts returns the users of the guest.
func (s *State) Accounts() *account.DB { return s.accounts }

// UserError is a user the guest does not have. Its text is part of the protocol.
type UserError struct{ Name string }

func (e *UserError) Error() string { return fmt.Sprintf("invalid username: '%s'", e.Name) }

// User returns the user of that name; an empty name is the default user. The
// error is a *UserError if there is no such user.
func (s *State) User(name string) (account.User, error) {
	candidates := []string{name}
	if name == "" {
		if def := s.get().DefaultUser; def != "" {
			candidates = []string{def}
		} else {
			candidates = []string{"user", "root"}
		}
	}
	for _, c := range candidates {
		u, err := s.accounts.Lookup(c)
		if err == nil {
			return u, nil
		}
		if !errors.Is(err, account.ErrUnknown) {
			return account.User{}, err
		}
	}
	return account.User{}, &UserError{Name: candidates[0]}
}

// RequestUser returns the user a request names by Basic authorization, or the
// default user if it has none.
func (s *State) RequestUser(h http.Header) (account.User, error) {
	r := http.Request{Header: h}
	name, _, _ := r.BasicAuth()
	return s.User(name)
}

// Path makes path absolute for a user: empty is the default directory, "~" and
// relative paths begin at the home.
func (s *State) Path(path string, u account.User) (string, error) {
	if path == "" {
		path = s.get().DefaultWorkdir
	}
	if strings.IndexByte(path, 0) >= 0 {
		return "", errors.New("path has a zero byte")
	}
	switch {
	case path == "~" || strings.HasPrefix(path, "~/"):
		path = path[1:]
	case strings.HasPrefix(path, "~"):
		return "", fmt.Errorf("path '%s': the home of another user cannot be expanded", path)
	case filepath.IsAbs(path):
		return filepath.Clean(path), nil
	}
	return filepath.Join(u.Home, path), nil
}

// Equal compares two secrets in constant time, whatever their lengths.
func Equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
