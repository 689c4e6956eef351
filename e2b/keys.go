package e2b

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"
)

// ErrBadKey is returned by KeyStore.Verify for a key that is not, or no longer,
// in the store, and by KeyStore.Remove for an unknown id.
var ErrBadKey = errors.New("no such API key")

// Key is the stored part of an API key. All keys of a node see all its sandboxes:
// one node is one team.
type Key struct {
	ID   string
	Name string
	// Mask is the start of the key, enough to recognise it by.
	Mask      string
	CreatedAt time.Time
}

// KeyStore keeps API keys, as hashes only. It is safe for concurrent use. Verify
// is on the path of every request and should not read a disk.
type KeyStore interface {
	// Create makes a key. The text is returned this once and kept nowhere.
	Create(ctx context.Context, name string) (key Key, text string, err error)
	// List returns the keys, oldest first.
	List(ctx context.Context) ([]Key, error)
	// Remove makes the key invalid at once.
	Remove(ctx context.Context, id string) error
	// Verify returns the key of this text, or ErrBadKey. Lookups are by
	// HashKey(text): the time they take reveals nothing about a stored key that
	// is of use without inverting SHA-256.
	Verify(ctx context.Context, text string) (Key, error)
}

// keyPrefix and the form behind it are checked by SDKs before they send a key.
const (
	keyPrefix = "e2b_"
	keyBytes  = 20
	// maxKeyLength is more than a key has: longer texts are not looked up.
	maxKeyLength = 256
)

// NewKey returns the text of a new key, "e2b_" and 40 hexadecimal digits, and the
// Key to keep with HashKey(text).
func NewKey(name string, now time.Time) (Key, string) {
	var id, secret [keyBytes]byte
	// They never fail; see crypto/rand.
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(secret[:])
	text := keyPrefix + hex.EncodeToString(secret[:])
	return Key{
		ID:        hex.EncodeToString(id[:6]),
		Name:      name,
		Mask:      text[:len(keyPrefix)+4] + "...",
		CreatedAt: now,
	}, text
}

// HashKey is the form in which a key is stored and looked up. It is a fast hash
// on purpose: slow ones protect secrets that people choose, and 160 random bits cannot
// be guessed at any speed.
func HashKey(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }
