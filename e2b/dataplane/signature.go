package dataplane

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/refusal"
)

// Errors of a signature, refused as the agent does.
var (
	ErrNoSignature  = refusal.SignatureMissing.With()
	ErrBadSignature = refusal.SignatureInvalid.With()
	ErrExpired      = refusal.SignatureExpired.With()
)

// Bounds of what a signature covers, in bytes: no more is hashed for a client that is
// not known. A path of Linux has 4096 at most.
const (
	maxSignedPath = 4096
	maxSignedUser = 256
	maxExpiry     = 20
	// maxSignedQuery is more than a query of all that has, percent-encoded.
	maxSignedQuery = 16 << 10
)

// signed is what a request to /files claims with its signature, "v1_" and
// base64(SHA-256(path:operation:user:token[:expiry])).
type signed struct {
	sum    [sha256.Size]byte // that it should have
	state  []byte            // of SHA-256 before the token
	expiry string            // Unix seconds; may be empty
}

// parseSigned returns what the request claims, ErrNoSignature, or ErrBadSignature
// for what no token can have signed, and says so before it computes anything.
func parseSigned(r *http.Request) (*signed, error) {
	if len(r.URL.RawQuery) > maxSignedQuery {
		return nil, ErrBadSignature
	}
	q := r.URL.Query()
	text := q.Get("signature")
	if text == "" {
		return nil, ErrNoSignature
	}
	path, user := q.Get("path"), q.Get("username")
	s := &signed{expiry: q.Get("signature_expiration")}
	digest, version := strings.CutPrefix(text, "v1_")
	// SDKs strip the padding; one that does not is as right.
	digest = strings.TrimSuffix(digest, "=")
	if !version || len(digest) != base64.RawStdEncoding.EncodedLen(len(s.sum)) ||
		len(path) > maxSignedPath || len(user) > maxSignedUser || len(s.expiry) > maxExpiry {
		return nil, ErrBadSignature
	}
	if n, err := base64.RawStdEncoding.Strict().Decode(s.sum[:], []byte(digest)); err != nil || n != len(s.sum) {
		return nil, ErrBadSignature
	}
	h := sha256.New()
	h.Write([]byte(path + ":" + operation(r) + ":" + user + ":"))
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, err
	}
	s.state = state
	return s, nil
}

// by reports whether the holder of the token signed the request, expired or not.
// scratch is a SHA-256 of the caller's, so that many can be tried.
func (s *signed) by(token string, scratch hash.Hash) bool {
	// It is the state of such a hash, and a hash never fails to write.
	_ = scratch.(encoding.BinaryUnmarshaler).UnmarshalBinary(s.state)
	scratch.Write([]byte(token))
	if s.expiry != "" {
		scratch.Write([]byte(":" + s.expiry))
	}
	var sum [sha256.Size]byte
	return subtle.ConstantTimeCompare(scratch.Sum(sum[:0]), s.sum[:]) == 1
}

// fresh returns nil, ErrExpired or ErrBadSignature.
func (s *signed) fresh(now time.Time) error {
	if s.expiry == "" {
		return nil
	}
	end, err := strconv.ParseInt(s.expiry, 10, 64)
	switch {
	case err != nil:
		return ErrBadSignature
	case end < now.Unix():
		return ErrExpired
	}
	return nil
}

// checkSigned returns nil if the holder of the token signed the request and it
// has not expired.
func checkSigned(r *http.Request, token string) error {
	s, err := parseSigned(r)
	switch {
	case err != nil:
		return err
	case !s.by(token, sha256.New()):
		return ErrBadSignature
	}
	return s.fresh(time.Now())
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
