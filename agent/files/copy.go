//go:build linux

package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/sandbox"
	"github.com/rundlet/rundlet/agent/unpack"
	"github.com/rundlet/rundlet/envd"
)

// Copy answers POST envd.CopyPath: see envd.Copy. The caller has checked that the host asks.
func (h *Handler) Copy(w http.ResponseWriter, r *http.Request) {
	body := newIdleReader(w, r.Body)
	defer body.stop()
	var req envd.CopyRequest
	if err := json.Unmarshal([]byte(r.URL.Query().Get(envd.CopyParameter)), &req); err != nil {
		writeError(w, fail(http.StatusBadRequest, "copy request: %w", err))
		return
	}
	err := h.copy(req, body)
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var invalid *unpack.InvalidError
	err = line{fmt.Errorf("copy %.200q to %.200q: %w", req.Source, req.Destination, err)}
	switch {
	case body.timedOut:
		err = fail(http.StatusRequestTimeout, "upload stalled: %w", err)
	case errors.As(err, &invalid), errors.Is(err, fs.ErrNotExist): // 404 is an agent's that cannot do it.
		err = fail(http.StatusBadRequest, "%w", err)
	}
	w.Header().Set("Connection", "close")
	writeError(w, err)
}

func (h *Handler) copy(req envd.CopyRequest, archive io.Reader) error {
	user, err := h.account(req.User)
	if err != nil {
		return err
	}
	owner := user
	if req.Owner != "" {
		if owner, err = h.account(req.Owner); err != nil {
			return err
		}
	}
	mode, err := octal(req.Mode)
	if err != nil {
		return err
	}
	dst, err := h.destination(req, user)
	if err != nil {
		return err
	}
	return unpack.Copy(archive, unpack.Request{
		Source: req.Source, Destination: dst, Into: isDirectory(req.Destination), Owner: owner, Mode: mode,
	})
}

// account returns the user of a name or number, and a group that may follow it.
func (h *Handler) account(text string) (u account.User, err error) {
	if text == "" {
		u, err = h.state.User("")
	} else {
		u, err = h.state.Accounts().Resolve(text)
	}
	var unknown *sandbox.UserError
	switch {
	case errors.Is(err, account.ErrUnknown):
		return u, fail(http.StatusBadRequest, "%w", &sandbox.UserError{Name: text})
	case errors.As(err, &unknown), errors.Is(err, account.ErrUnknownGroup):
		return u, fail(http.StatusBadRequest, "%w", err)
	}
	return u, err
}

// octal reads the mode of a step.
func octal(text string) (*fs.FileMode, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o7777 {
		return nil, fail(http.StatusBadRequest, "the mode must be an octal number up to 7777, got %.200q", text)
	}
	mode := fs.FileMode(n).Perm()
	for bit, special := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			mode |= special
		}
	}
	return &mode, nil
}

// destination makes that of a step absolute.
func (h *Handler) destination(req envd.CopyRequest, u account.User) (string, error) {
	dst := req.Destination
	if !filepath.IsAbs(dst) && !strings.HasPrefix(dst, "~") {
		workdir := u.Home
		if req.Workdir != "" {
			var err error
			if workdir, err = h.path(req.Workdir, u); err != nil {
				return "", err
			}
		}
		dst = workdir + "/" + dst
	}
	return h.path(dst, u)
}

// isDirectory reports whether a destination means a directory, even if nothing is there.
func isDirectory(dst string) bool {
	base := path.Base(dst)
	return strings.HasSuffix(dst, "/") || base == "." || base == ".." || dst == "~"
}

// line is an error whose text has one line, whatever names are in it.
type line struct{ error }

func (l line) Error() string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, l.error.Error())
}

func (l line) Unwrap() error { return l.error }
