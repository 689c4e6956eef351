// Package signature signs and checks URLs for single files, so that they can
// be given to clients without an access token. It may import the standard
// library only; the agent checks a request with it, and the data-plane proxy
// finds the sandbox of a request by trying the tokens it knows.
package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/base64"
	"errors"
	"hash"
	"net/url"
	"strconv"
	"strings"
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

// version begins every signature; the rest is the SHA-256 of
// path:operation:user:token[:expiration] in base64 without padding.
const version = "v1_"

// Request is what a signature covers, as the query has it: the path may be
// relative, and user and expiration (Unix seconds) may be empty.
type Request struct {
	Path, Operation, User, Expiration string
}

// FromQuery returns what a request to the agent's files asks for, and the
// signature that it shows, which is empty if it shows none.
func FromQuery(q url.Values, operation string) (r Request, text string) {
	return Request{
		Path: q.Get("path"), Operation: operation, User: q.Get("username"), Expiration: q.Get("signature_expiration"),
	}, q.Get("signature")
}

// beforeToken is what is hashed before the token.
func (r Request) beforeToken() []byte { return []byte(r.Path + ":" + r.Operation + ":" + r.User + ":") }

// finish hashes the token and what follows it.
func finish(h hash.Hash, token, expiration string) (sum [sha256.Size]byte) {
	h.Write([]byte(token))
	if expiration != "" {
		h.Write([]byte(":" + expiration))
	}
	h.Sum(sum[:0])
	return sum
}

// Sign returns the signature of a request under an access token. It is what a
// client does.
func Sign(r Request, token string) string {
	h := sha256.New()
	h.Write(r.beforeToken())
	sum := finish(h, token, r.Expiration)
	return version + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Claim is a request that shows a signature of the right form. Many tokens can
// be tried on it at the cost of one short hash each. It is not changed by use.
type Claim struct {
	sum        [sha256.Size]byte // that it should have
	state      []byte            // of SHA-256 before the token
	expiration string
}

// Parse returns the claim of a request that shows the signature text. It
// returns ErrMissing, or ErrInvalid for what no token can have signed, before
// it computes anything.
func Parse(r Request, text string) (*Claim, error) {
	if text == "" {
		return nil, ErrMissing
	}
	c := &Claim{expiration: r.Expiration}
	digest, ok := strings.CutPrefix(text, version)
	if !ok || len(digest) != base64.RawStdEncoding.EncodedLen(len(c.sum)) {
		return nil, ErrInvalid
	}
	// The decoder skips line ends: then the digest is too short.
	if n, err := base64.RawStdEncoding.Strict().Decode(c.sum[:], []byte(digest)); err != nil || n != len(c.sum) {
		return nil, ErrInvalid
	}
	h := sha256.New()
	h.Write(r.beforeToken())
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, err
	}
	c.state = state
	return c, nil
}

// By reports in constant time whether the holder of the token made the claim,
// expired or not. scratch is a SHA-256 of the caller's, so that many can be tried.
func (c *Claim) By(token string, scratch hash.Hash) bool {
	// It is the state of such a hash, and a hash never fails to write.
	_ = scratch.(encoding.BinaryUnmarshaler).UnmarshalBinary(c.state)
	sum := finish(scratch, token, c.expiration)
	return subtle.ConstantTimeCompare(sum[:], c.sum[:]) == 1
}

// Fresh returns nil, ErrExpired, or ErrInvalid if the expiration is not a number.
func (c *Claim) Fresh(now time.Time) error {
	if c.expiration == "" {
		return nil
	}
	end, err := strconv.ParseInt(c.expiration, 10, 64)
	switch {
	case err != nil:
		return ErrInvalid
	case end < now.Unix():
		return ErrExpired
	}
	return nil
}

// Check returns nil if the holder of the token signed the request with text,
// and else ErrMissing, ErrInvalid or ErrExpired.
func Check(r Request, text, token string, now time.Time) error {
	c, err := Parse(r, text)
	switch {
	case err != nil:
		return err
	case !c.By(token, sha256.New()):
		return ErrInvalid
	}
	return c.Fresh(now)
}
