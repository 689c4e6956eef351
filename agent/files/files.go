//go:build linux

// Package files serves the contents of guest files over plain HTTP: download,
// upload, compose, and copy from an archive. It may import envd and the agent's
// other leaf packages; only agent imports it.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
)

// Handler serves files with the rights of root, for the user a request names.
type Handler struct {
	state *sandbox.State
	now   func() time.Time
	turns *turns
}

// New returns a Handler.
func New(state *sandbox.State) *Handler {
	return &Handler{state: state, now: time.Now, turns: newTurns()}
}

// httpError is an error that has its status.
type httpError struct {
	status int
	err    error
}

func (e *httpError) Error() string { return e.err.Error() }
func (e *httpError) Unwrap() error { return e.err }

func fail(status int, format string, args ...any) error {
	return &httpError{status, fmt.Errorf(format, args...)}
}

// authorize checks the token header, which wins if present, or the signature,
// and returns the user.
func (h *Handler) authorize(r *http.Request, q url.Values, operation string) (account.User, error) {
	if token := h.state.AccessToken(); token != "" {
		if shown := r.Header.Get(envd.AccessTokenHeader); shown != "" {
			if !sandbox.Equal(shown, token) {
				return account.User{}, fail(http.StatusUnauthorized, "access token present in header but does not match")
			}
		} else {
			signed, text := signature.FromQuery(q, operation)
			if err := signature.Check(signed, text, token, h.now()); err != nil {
				return account.User{}, fail(http.StatusUnauthorized, "%w", err)
			}
		}
	}
	return h.user(q.Get("username"))
}

func (h *Handler) user(name string) (account.User, error) {
	u, err := h.state.User(name)
	var unknown *sandbox.UserError
	if errors.As(err, &unknown) {
		return u, fail(http.StatusUnauthorized, "%w", err)
	}
	return u, err
}

func (h *Handler) path(path string, u account.User) (string, error) {
	p, err := h.state.Path(path, u)
	if err != nil {
		return "", fail(http.StatusBadRequest, "%w", err)
	}
	return p, nil
}

// writeError answers with the status that fits err.
func writeError(w http.ResponseWriter, err error) {
	var known *httpError
	var tooLarge *http.MaxBytesError
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &known):
		status = known.status
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		status = http.StatusInsufficientStorage
		err = fmt.Errorf("not enough disk space available: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		status = http.StatusNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		status = http.StatusForbidden
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ELOOP),
		errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENXIO):
		status = http.StatusBadRequest
	case errors.Is(err, syscall.ETXTBSY):
		status = http.StatusConflict
	}
	reply.Error(w, status, err.Error())
}
