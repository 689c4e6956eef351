package dataplane

import (
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// A key of this server is worth every sandbox on it, and a token every file of
// one: code in a sandbox must not see them, wherever a client put them. A key is
// recognized by its form, so that removed keys and those of other servers are not
// passed either. All else is between the client and the
// service, its own Authorization included.
const (
	keyPrefix   = "e2b_"
	keyDigits   = 40
	tokenDigits = 64
)

// noKey stands in for a token of another sandbox, which is refused all the same.
const noKey = "-"

// scrub takes keys and tokens out of a request that goes to t in the sandbox.
func scrub(r *http.Request, t route.Target, sb sandbox.Sandbox) {
	h := r.Header
	h.Del(envd.TrafficTokenHeader)
	own := []string{sb.TrafficAccessToken}
	if t.Port == envd.Port {
		for i, v := range h[envd.AccessTokenHeader] {
			if isToken(v) && subtle.ConstantTimeCompare([]byte(v), []byte(sb.EnvdAccessToken)) != 1 {
				h[envd.AccessTokenHeader][i] = noKey
			}
		}
	} else {
		own = append(own, sb.EnvdAccessToken)
		keep(h, envd.AccessTokenHeader, func(v string) bool { return !isToken(strings.TrimSpace(v)) })
	}
	secret := func(v string) bool {
		return hasKey(v) || slices.ContainsFunc(own, func(token string) bool { return token != "" && strings.Contains(v, token) })
	}
	keep(h, "X-Api-Key", func(v string) bool { return !hasPrefixFold(strings.TrimSpace(v), keyPrefix) })
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

// inAddress reports a key where it cannot be removed: the rest would be another
// address.
func inAddress(r *http.Request) bool { return hasKey(r.URL.Path) || hasKey(r.Host) || hasKey(r.Method) }

// hasKey reports whether there is a key in s, in clear, percent-encoded or in the
// base64 of Basic authentication.
func hasKey(s string) bool {
	if findKey(s) {
		return true
	}
	if strings.Contains(s, "%") && findKey(unescape(s)) {
		return true
	}
	if words := strings.Fields(s); len(words) == 2 && strings.EqualFold(words[0], "Basic") {
		plain, _ := base64.RawStdEncoding.DecodeString(lenient.Replace(strings.TrimRight(words[1], "=")))
		return findKey(string(plain))
	}
	return false
}

// lenient turns base64 for URLs into plain base64: many services accept both.
var lenient = strings.NewReplacer("-", "+", "_", "/")

// unescape decodes the percent-encoded parts and leaves the others, as the most
// lenient of services may.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// findKey reports whether there is "e2b_" and 40 hexadecimal digits in s.
func findKey(s string) bool {
	for {
		i := strings.IndexByte(s, '_')
		if i < 0 {
			return false
		}
		if end := i + 1 + keyDigits; i >= len(keyPrefix)-1 && end <= len(s) &&
			strings.EqualFold(s[i+1-len(keyPrefix):i+1], keyPrefix) && isHex(s[i+1:end]) {
			return true
		}
		s = s[i+1:]
	}
}

// isToken reports whether s has the form of a token of a sandbox.
func isToken(s string) bool { return len(s) == tokenDigits && isHex(s) }

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
