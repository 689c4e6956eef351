//go:build linux

package files

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/klauspost/compress/gzip"

	"github.com/rundlet/rundlet/envd/signature"
)

// Download answers GET /files.
func (h *Handler) Download(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	u, err := h.authorize(r, q, signature.Read)
	if err != nil {
		writeError(w, err)
		return
	}
	path, err := h.path(q.Get("path"), u)
	if err != nil {
		writeError(w, err)
		return
	}
	f, info, err := openFile(path)
	if err != nil {
		writeError(w, err)
		return
	}
	defer f.Close()
	coding, ok := negotiate(r)
	if !ok {
		reply406(w)
		return
	}
	head := w.Header()
	head.Set("Vary", "Accept-Encoding")
	head.Set("Content-Disposition", disposition(path))
	if info.Size() == 0 {
		// The files of procfs and sysfs have a size of 0 and contents.
		serveUnsized(w, r, path, f, info, coding)
		return
	}
	contents, info, err := h.steady(f, info)
	if err != nil {
		writeError(w, err)
		return
	}
	if coding == "gzip" {
		serveGzip(w, r, path, contents)
		return
	}
	http.ServeContent(w, r, filepath.Base(path), info.ModTime(), contents)
}

// steady returns the contents of a small file as they are before or after an upload,
// and never between.
func (h *Handler) steady(f *os.File, info os.FileInfo) (io.ReadSeeker, os.FileInfo, error) {
	if info.Size() > headBytes {
		return f, info, nil
	}
	defer h.turns.reading(idOf(info))()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, headBytes+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > headBytes {
		_, err := f.Seek(0, io.SeekStart)
		return f, info, err
	}
	return bytes.NewReader(data), info, nil
}

// openFile opens a regular file. A FIFO or device would block or never end.
func openFile(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fail(http.StatusNotFound, "path '%s' does not exist", path)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		if info.IsDir() {
			err = fail(http.StatusBadRequest, "path '%s' is a directory", path)
		} else if !info.Mode().IsRegular() {
			err = fail(http.StatusBadRequest, "path '%s' is not a regular file", path)
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func disposition(path string) string {
	d := mime.FormatMediaType("inline", map[string]string{"filename": filepath.Base(path)})
	if d == "" {
		return "inline"
	}
	return d
}

func contentType(path string) string {
	if t := mime.TypeByExtension(filepath.Ext(path)); t != "" {
		return t
	}
	return "application/octet-stream"
}

func serveUnsized(w http.ResponseWriter, r *http.Request, path string, f *os.File, info os.FileInfo, coding string) {
	first := make([]byte, 32<<10)
	n, err := f.Read(first)
	if n == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			writeError(w, err)
			return
		}
		http.ServeContent(w, r, filepath.Base(path), info.ModTime(), f)
		return
	}
	if _, err := f.Seek(0, io.SeekStart); err == nil && coding == "gzip" {
		serveGzip(w, r, path, f)
		return
	}
	w.Header().Set("Content-Type", contentType(path))
	w.Header().Set("Accept-Ranges", "none")
	if r.Method == http.MethodHead {
		return
	}
	copyOut(w, f)
}

func serveGzip(w http.ResponseWriter, r *http.Request, path string, f io.Reader) {
	w.Header().Set("Content-Type", contentType(path))
	w.Header().Set("Content-Encoding", "gzip")
	if r.Method == http.MethodHead {
		return
	}
	zw, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		panic(err) // The level is a constant.
	}
	copyOut(zw, f)
	if err := zw.Close(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// copyOut aborts the connection on an error: the status is sent, and a clean
// end would pass for a whole file.
func copyOut(w io.Writer, f io.Reader) {
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 64<<10)); err != nil {
		panic(http.ErrAbortHandler)
	}
}
