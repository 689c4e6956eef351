package route

import (
	"net/http"
	"net/url"
	"strings"
)

// pathPrefix begins the paths that address a sandbox: pathPrefix, id, "/ports/", port.
const pathPrefix = "/sandbox-proxy/"

// ofPath reads the path as it came: what is percent-encoded is not a part of an address, and
// nothing behind the port matters, so that no ".." leads from one sandbox to another.
func ofPath(u *url.URL) (t Target, ok bool, err error) {
	rest, ok := strings.CutPrefix(encoded(u), pathPrefix)
	if !ok {
		return Target{}, false, nil
	}
	id, rest, _ := strings.Cut(rest, "/")
	rest, ok = strings.CutPrefix(rest, "ports/")
	if !ok {
		return Target{}, false, ErrBadPath
	}
	port, _, _ := strings.Cut(rest, "/")
	if t, err = parseTarget(id, port); err != nil {
		return Target{}, false, err
	}
	t.Prefix = pathPrefix + id + "/ports/" + port
	return t, true, nil
}

// encoded is a path as it came.
func encoded(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// Strip returns the request with the path that the program at the target sees, which is percent-encoded as it
// came. It leaves r unchanged.
func (t Target) Strip(r *http.Request) *http.Request {
	if t.Prefix == "" {
		return r
	}
	rest := encoded(r.URL)[len(t.Prefix):]
	if rest == "" {
		rest = "/"
	}
	out, u := *r, *r.URL
	u.RawPath = rest
	u.Path, _ = url.PathUnescape(rest) // As a part of the whole path it has been unescaped before.
	out.URL = &u
	return &out
}
