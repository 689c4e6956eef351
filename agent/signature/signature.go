// Package signature signs and checks URLs for single files, so that they can
// be given to somebody who has no access token. It may import the standard
// library only; agent/files and the data-plane proxy import it.
package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"time"
)

// The operations of a signature.
const (
	Read  = "read"
	Write = "write"
)

// The texts are part of the protocol.
var (
	ErrMissing = errors.New("missing signature query parameter")
	ErrInvalid = errors.New("invalid signature")
	ErrExpired = errors.New("signature is already expired")
)

// Request is what a signature covers, as the query has it: the path may be
// relative, and user and expiration (Unix seconds) may be empty.
type Request struct {
	Path, Operation, User, Expiration string
}

// Sign returns the signature of a request under an access token.
func Sign(r Request, token string) string {
	raw := r.Path + ":" + r.Operation + ":" + r.User + ":" + token
	if r.Expiration != "" {
		raw += ":" + r.Expiration
	}
	sum := sha256.Sum256([]byte(raw))
	return "v1_" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Matches reports in constant time whether sig signs r under token, expired or
// not: a proxy finds the sandbox of a URL by trying the tokens it knows.
func Matches(r Request, sig, token string) bool {
	return subtle.ConstantTimeCompare([]byte(sig), []byte(Sign(r, token))) == 1
}

// Check returns nil, ErrMissing, ErrInvalid or ErrExpired.
func Check(r Request, sig, token string, now time.Time) error {
	if sig == "" {
		return ErrMissing
	}
	if !Matches(r, sig, token) {
		return ErrInvalid
	}
	if r.Expiration == "" {
		return nil
	}
	end, err := strconv.ParseInt(r.Expiration, 10, 64)
	if err != nil {
		return ErrInvalid
	}
	if end < now.Unix() {
		return ErrExpired
	}
	return nil
}
