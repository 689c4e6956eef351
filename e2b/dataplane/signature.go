package dataplane

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/rundlet/rundlet/runtime"
)

// Errors of Signed. The texts are those of the agent and are matched by clients.
var (
	ErrNoSignature  = errors.New("missing signature query parameter")
	ErrBadSignature = errors.New("invalid signature")
)

// Signed finds the sandbox of a signed file URL that names none, as SDKs make
// them when one URL serves all sandboxes: it is the one with whose token the
// signature was made. Expiry is left to the agent, which checks it again.
func Signed(ctx context.Context, sandboxes Sandboxes, r *http.Request) (Target, error) {
	q := r.URL.Query()
	signature := q.Get("signature")
	if signature == "" {
		return Target{}, ErrNoSignature
	}
	// Paused ones as well: a request may resume them.
	all, err := sandboxes.List(ctx, runtime.ListFilter{})
	if err != nil {
		return Target{}, err
	}
	op := operation(r)
	for _, sb := range all {
		if sb.EnvdAccessToken != "" && verify(q, op, sb.EnvdAccessToken, signature) {
			return Target{ID: sb.ID, Port: AgentPort}, nil
		}
	}
	return Target{}, ErrBadSignature
}

// operation is what the request, or the request that a preflight announces,
// does to the file.
func operation(r *http.Request) string {
	method := r.Method
	if method == http.MethodOptions {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	if method == http.MethodPost {
		return "write"
	}
	return "read"
}

func verify(q url.Values, op, token, signature string) bool {
	want := sign(q.Get("path"), op, q.Get("username"), token, q.Get("signature_expiration"))
	// SDKs strip the padding; one that does not is as right.
	got := strings.TrimRight(signature, "=")
	return subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}

// sign is "v1_" and base64(SHA-256(path:operation:user:token[:expiry])).
func sign(path, op, user, token, expiry string) string {
	raw := path + ":" + op + ":" + user + ":" + token
	if expiry != "" {
		raw += ":" + expiry
	}
	sum := sha256.Sum256([]byte(raw))
	return "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
}
