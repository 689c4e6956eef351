//go:build linux

package files

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/owned"
	"github.com/rundlet/rundlet/agent/reply"
)

const (
	maxComposeBytes   = 1 << 20
	maxComposeSources = 10000
)

// Compose answers POST /files/compose: it concatenates files into one and
// removes them. Only agent's token check stands before it.
func (h *Handler) Compose(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Sources     []string `json:"source_paths"`
		Destination string   `json:"destination"`
		Username    string   `json:"username"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxComposeBytes)).Decode(&req); err != nil {
		writeError(w, fail(http.StatusBadRequest, "compose request: %w", err))
		return
	}
	if len(req.Sources) == 0 || len(req.Sources) > maxComposeSources || req.Destination == "" {
		writeError(w, fail(http.StatusBadRequest, "compose request: source_paths or destination is missing, or there are too many sources"))
		return
	}
	dst, err := h.compose(req.Sources, req.Destination, req.Username)
	if err != nil {
		writeError(w, err)
		return
	}
	reply.JSON(w, http.StatusOK, written{Path: dst, Name: filepath.Base(dst), Type: "file"})
}

func (h *Handler) compose(sources []string, destination, username string) (string, error) {
	u, err := h.user(username)
	if err != nil {
		return "", err
	}
	dst, err := h.path(destination, u)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(dst); err == nil && !info.Mode().IsRegular() {
		return "", fail(http.StatusBadRequest, "path '%s' is not a regular file", dst)
	}
	paths := make([]string, len(sources))
	for i, s := range sources {
		if paths[i], err = h.path(s, u); err != nil {
			return "", err
		}
	}
	if err := owned.MkdirAll(filepath.Dir(dst), u); err != nil {
		return "", err
	}
	if err := concatenate(dst, paths, u); err != nil {
		return "", err
	}
	for _, p := range paths {
		if p == dst {
			continue
		}
		if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("remove source: %w", err)
		}
	}
	return dst, nil
}

// concatenate builds the file beside its place, which may be a source, too.
func concatenate(dst string, sources []string, u account.User) (err error) {
	f, err := os.CreateTemp(filepath.Dir(dst), ".compose-*")
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = os.Rename(f.Name(), dst)
		}
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Chown(int(u.UID), int(u.GID)); err != nil {
		return fmt.Errorf("give file to %s: %w", u.Name, err)
	}
	for _, p := range sources {
		src, _, err := openFile(p)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, src)
		src.Close()
		if err != nil {
			return fmt.Errorf("compose '%s': %w", p, err)
		}
	}
	return nil
}
