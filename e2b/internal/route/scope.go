package route

import (
	"net/http"
	"slices"
	"strings"
)

// Addressed by path, all sandboxes have one origin for a browser, that of the API. These headers would
// act on all of it.
var ofTheOrigin = []string{"Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Report-To", "NEL"}

// Scope restricts the header of an answer from the target to the paths that address it: redirects to
// paths of the program get the prefix, cookies are sent to this target only, and headers for the whole origin are
// removed.
func (t Target) Scope(h http.Header) {
	if t.Prefix == "" {
		return
	}
	for _, name := range ofTheOrigin {
		h.Del(name)
	}
	for i, v := range h["Location"] {
		h["Location"][i] = t.location(v)
	}
	for i, v := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = t.cookie(v)
	}
}

// location leaves a URL of another origin, a relative one, and one that has the prefix: programs may
// know it from X-Forwarded-Prefix.
func (t Target) location(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
		return to
	}
	if rest, ok := strings.CutPrefix(to, t.Prefix); ok && (rest == "" || strings.ContainsRune("/?#", rune(rest[0]))) {
		return to
	}
	return t.Prefix + to
}

// cookie is a Set-Cookie without its domain and with this path.
func (t Target) cookie(line string) string {
	parts := strings.Split(line, ";")
	attributes := slices.DeleteFunc(parts[1:], func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		return strings.EqualFold(name, "Domain") || strings.EqualFold(name, "Path")
	})
	return strings.Join(append([]string{parts[0]}, append(attributes, " Path="+t.Prefix)...), ";")
}

// Interim returns a writer that restricts interim answers (1xx), too: a reverse proxy passes them on without asking.
func (t Target) Interim(w http.ResponseWriter) http.ResponseWriter {
	if t.Prefix == "" {
		return w
	}
	return interim{w, t}
}

type interim struct {
	http.ResponseWriter
	target Target
}

func (i interim) WriteHeader(status int) {
	if status < http.StatusOK {
		i.target.Scope(i.Header())
	}
	i.ResponseWriter.WriteHeader(status)
}

func (i interim) Unwrap() http.ResponseWriter { return i.ResponseWriter }
