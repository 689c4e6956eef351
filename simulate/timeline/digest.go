package timeline

import "fmt"

// Digest is a digest of words (FNV-1a, by words): equal for equal runs.
type Digest uint64

const (
	offset Digest = 14695981039346656037
	prime  Digest = 1099511628211
)

// Fold returns the digest with one more word.
func (d Digest) Fold(word uint64) Digest { return (d ^ Digest(word)) * prime }

func (d Digest) String() string { return fmt.Sprintf("%016x", uint64(d)) }
