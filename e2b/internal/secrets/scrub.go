package secrets

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// noKey stands in for a token of another sandbox, which is refused all the same.
const noKey = "-"

// Scrub takes keys and tokens out of a request that goes to t in the sandbox.
//
// A key of this server is worth every sandbox on it, and a token every file of
// one: code in a sandbox must not see them, wherever a client put them. A key is
// recognized by its form, so that removed keys and those of other servers are not
// passed either. All else is between the client and the
// service, its own Authorization included.
func Scrub(r *http.Request, t route.Target, sb sandbox.Sandbox) {
	h := r.Header
	h.Del(envd.TrafficTokenHeader)
	own := []string{sb.TrafficAccessToken}
	if t.Port == envd.Port {
		for i, v := range h[envd.AccessTokenHeader] {
			if IsToken(v) && subtle.ConstantTimeCompare([]byte(v), []byte(sb.EnvdAccessToken)) != 1 {
				h[envd.AccessTokenHeader][i] = noKey
			}
		}
	} else {
		own = append(own, sb.EnvdAccessToken)
		keep(h, envd.AccessTokenHeader, func(v string) bool { return !IsToken(strings.TrimSpace(v)) })
	}
	secret := func(v string) bool {
		return HasKey(v) || slices.ContainsFunc(own, func(token string) bool { return token != "" && strings.Contains(v, token) })
	}
	keep(h, "X-Api-Key", func(v string) bool { return !HasPrefixFold(strings.TrimSpace(v), KeyPrefix) })
	for i, line := range h["Cookie"] {
		if secret(line) {
			h["Cookie"][i] = strings.Join(slices.DeleteFunc(strings.Split(line, ";"), secret), ";")
		}
	}
	for name := range h {
		if secret(name) {
			delete(h, name)
			continue
		}
		keep(h, name, func(v string) bool { return !secret(v) })
	}
	r.URL.User = nil // The transport would make an Authorization of it.
	if raw := r.URL.RawQuery; raw != "" {
		if parts := strings.Split(raw, "&"); slices.ContainsFunc(parts, secret) {
			r.URL.RawQuery = strings.Join(slices.DeleteFunc(parts, secret), "&")
		}
	}
}

// keep leaves the values of a header that are wanted, or no such header.
func keep(h http.Header, name string, wanted func(string) bool) {
	values := h[name]
	if !slices.ContainsFunc(values, func(v string) bool { return !wanted(v) }) {
		return
	}
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !wanted(v) })
	if len(values) == 0 {
		delete(h, name)
	} else {
		h[name] = values
	}
}

// InAddress reports a key where it cannot be removed: the rest would be another
// address.
func InAddress(r *http.Request) bool {
	return HasKey(r.URL.Path) || HasKey(r.Host) || HasKey(r.Method)
}

// HasPrefixFold is strings.HasPrefix that ignores case.
func HasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
