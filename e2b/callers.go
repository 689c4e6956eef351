package e2b

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b/control"
	"github.com/rundlet/rundlet/e2b/dataplane"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// callers tells clients apart: by their API key or, without one, by the address that they
// come from. It is safe for concurrent use, but has no keys before Server.Open.
type callers struct {
	keys  KeyStore
	peers peers
}

// authenticate returns the key of a request, or a refusal.
func (c *callers) authenticate(r *http.Request) (Key, error) {
	text := apiKey(r)
	if text == "" {
		return Key{}, refusal.KeyMissing.With()
	}
	key, err := c.verify(r.Context(), text)
	if errors.Is(err, ErrBadKey) {
		// Only after the check: others behind the same address may have a key.
		if wait, ok := c.peers.rate.Take(c.peers.of(r), 1, time.Now()); !ok {
			return Key{}, tooMuch(wait)
		}
		return Key{}, refusal.KeyInvalid.With()
	}
	return key, err
}

// verify returns the key of this text, or ErrBadKey.
func (c *callers) verify(ctx context.Context, text string) (Key, error) {
	if len(text) > maxKeyLength {
		return Key{}, ErrBadKey
	}
	return c.keys.Verify(ctx, text)
}

// tooMuch refuses a request that a client without a key sent too often.
func tooMuch(wait time.Duration) error {
	return refusal.TooMuchWithoutKey.With(&dataplane.LimitError{}).After(wait)
}

// charge takes the cost of work that needs no key from the peer of a request, or
// returns how long the peer has to wait. A request with a valid key is neither
// charged nor refused, so clients behind one address do not keep each other out.
func (c *callers) charge(r *http.Request, work float64) (wait time.Duration, ok bool) {
	if c.hasKey(r) {
		return 0, true
	}
	return c.peers.rate.Take(c.peers.of(r), work, time.Now())
}

// hasKey reports whether a request carries a valid key, on the data plane too.
func (c *callers) hasKey(r *http.Request) bool {
	text := apiKey(r)
	if text == "" {
		return false
	}
	_, err := c.verify(r.Context(), text)
	return err == nil
}

// isPublic reports whether a request needs no key.
func isPublic(r *http.Request) bool {
	return r.URL.Path == "/health" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// apiKey is the key that a request carries.
func apiKey(r *http.Request) string {
	if r.URL.Path == control.MetricsPath {
		if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(token)
		}
	}
	key := strings.TrimSpace(r.Header.Get("X-API-Key"))
	if key == "" && r.Method == http.MethodConnect {
		return proxyKey(r.Header.Get("Proxy-Authorization"))
	}
	return key
}

// proxyKey is the key in the credentials for a proxy, as clients send them that know us as one.
func proxyKey(credentials string) string {
	scheme, value, _ := strings.Cut(credentials, " ")
	value = strings.TrimSpace(value)
	if strings.EqualFold(scheme, "Bearer") {
		return value
	}
	if !strings.EqualFold(scheme, "Basic") {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(plain), ":")
	return password
}
