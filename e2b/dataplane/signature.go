package dataplane

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/envd/signature"
)

// Errors of a signature, refused as the agent does.
var (
	ErrNoSignature  = refusal.SignatureMissing.With()
	ErrBadSignature = refusal.SignatureInvalid.With()
	ErrExpired      = refusal.SignatureExpired.With()
)

// Bounds of the fields that a signature covers, in bytes: no more is hashed for an
// unknown client. A path of Linux has 4096 at most.
const (
	maxSignedPath = 4096
	maxSignedUser = 256
	maxExpiry     = 20
	// maxSignedQuery is more than a query of all that has, percent-encoded.
	maxSignedQuery = 16 << 10
)

// parseSigned returns what a request to the agent's files claims with its
// signature, ErrNoSignature, or ErrBadSignature for what no token can have signed,
// and says so before it computes anything.
func parseSigned(r *http.Request) (*signature.Claim, error) {
	if len(r.URL.RawQuery) > maxSignedQuery {
		return nil, ErrBadSignature
	}
	claimed, text := signature.FromQuery(r.URL.Query(), operation(r))
	switch {
	case text == "":
		return nil, ErrNoSignature
	case len(claimed.Path) > maxSignedPath || len(claimed.User) > maxSignedUser || len(claimed.Expiration) > maxExpiry:
		return nil, ErrBadSignature
	}
	// SDKs strip the padding; one that does not is as right.
	c, err := signature.Parse(claimed, strings.TrimSuffix(text, "="))
	if err != nil {
		return nil, ErrBadSignature
	}
	return c, nil
}

// fresh returns nil, ErrExpired or ErrBadSignature.
func fresh(c *signature.Claim, now time.Time) error {
	switch err := c.Fresh(now); {
	case errors.Is(err, signature.ErrExpired):
		return ErrExpired
	case err != nil:
		return ErrBadSignature
	}
	return nil
}

// checkSigned returns nil if the holder of the token signed the request and it
// has not expired.
func checkSigned(r *http.Request, token string) error {
	c, err := parseSigned(r)
	switch {
	case err != nil:
		return err
	case !c.By(token, sha256.New()):
		return ErrBadSignature
	}
	return fresh(c, time.Now())
}

// operation is the action of the request, or of the request that a preflight
// announces, on the file.
func operation(r *http.Request) string {
	method := r.Method
	if method == http.MethodOptions {
		method = r.Header.Get("Access-Control-Request-Method")
	}
	if method == http.MethodPost {
		return signature.Write
	}
	return signature.Read
}
