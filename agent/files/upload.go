//go:build linux

package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/klauspost/compress/gzip"

	"github.com/rundlet/rundlet/agent/account"
	"github.com/rundlet/rundlet/agent/metadata"
	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/envd/signature"
)

// written is one file in the reply. Clients compare it whole: no other keys.
type written struct {
	Path     string            `json:"path"`
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// upload is one request in work.
type upload struct {
	h    *Handler
	user account.User
	meta map[string]string
	done []written
	left func() int64 // See incoming.
}

// counted says how much of a body of a known size is to come.
type counted struct {
	r    io.Reader
	left int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.left -= int64(n)
	return n, err
}

func unknown() int64 { return -1 }

// Upload answers POST /files.
func (h *Handler) Upload(w http.ResponseWriter, r *http.Request) {
	body := newIdleReader(w, r.Body)
	defer body.stop()
	files, err := h.receive(r, bufio.NewReaderSize(body, buffer))
	if err != nil {
		if body.timedOut {
			err = fail(http.StatusRequestTimeout, "upload stalled: %w", err)
		}
		// What the client still sends belongs to no request.
		w.Header().Set("Connection", "close")
		writeError(w, err)
		return
	}
	reply.JSON(w, http.StatusOK, files)
}

func (h *Handler) receive(r *http.Request, body io.Reader) ([]written, error) {
	q := r.URL.Query()
	user, err := h.authorize(r, q, signature.Write)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.FromHeader(r.Header)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "%w", err)
	}
	left := unknown
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "identity":
		if r.ContentLength >= 0 {
			c := &counted{body, r.ContentLength}
			body, left = c, func() int64 { return c.left }
		}
	case "gzip":
		zr, err := gzip.NewReader(body)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "gzip body: %w", err)
		}
		defer zr.Close()
		body = zr
	default:
		return nil, fail(http.StatusUnsupportedMediaType, "content encoding '%s' is not supported", enc)
	}
	up := &upload{h: h, user: user, meta: meta, done: []written{}, left: left}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "content type: %w", err)
	}
	switch kind {
	case "multipart/form-data":
		err = up.multipart(r.Context(), multipart.NewReader(body, params["boundary"]), q)
	case "application/octet-stream":
		if q.Get("path") == "" {
			return nil, fail(http.StatusBadRequest, "path is missing")
		}
		err = up.file(r.Context(), q.Get("path"), body)
	default:
		return nil, fail(http.StatusUnsupportedMediaType, "content type '%s' is not supported", kind)
	}
	return up.done, err
}

func (up *upload) multipart(ctx context.Context, mr *multipart.Reader, q url.Values) error {
	for {
		part, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fail(http.StatusBadRequest, "multipart body: %w", err)
		}
		name, file := partName(part.Header.Get("Content-Disposition"))
		if name != "file" {
			continue
		}
		path := q.Get("path")
		if path == "" {
			path = file
		} else if len(up.done) > 0 {
			return fail(http.StatusBadRequest, "a path can be given for a single file only")
		}
		if path == "" {
			return fail(http.StatusBadRequest, "file name is missing")
		}
		if err := up.file(ctx, path, part); err != nil {
			return err
		}
	}
}

// partName returns the field and the file name of a part. The standard
// library strips directories from file names; here they are meant.
func partName(disposition string) (field, file string) {
	kind, params, err := mime.ParseMediaType(disposition)
	if err != nil || kind != "form-data" {
		return "", ""
	}
	return params["name"], params["filename"]
}

func (up *upload) file(ctx context.Context, name string, body io.Reader) error {
	path, err := up.h.path(name, up.user)
	if err != nil {
		return err
	}
	for _, d := range up.done {
		if d.Path == path {
			return fail(http.StatusBadRequest, "path '%s' is in the upload twice", path)
		}
	}
	in := incoming{turns: up.h.turns, path: path, user: up.user, meta: up.meta, body: body, left: up.left}
	if err := in.store(ctx); err != nil {
		return fmt.Errorf("write '%s': %w", path, err)
	}
	up.done = append(up.done, written{Path: path, Name: filepath.Base(path), Type: "file", Metadata: up.meta})
	return nil
}
