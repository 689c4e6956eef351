package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// digestBuffer is all the memory that a digest takes, however long the file.
const digestBuffer = 256 << 10

// Sum is what a file holds, in short.
type Sum struct {
	Bytes  int64
	SHA256 string // 64 lower-case hexadecimal digits
	// CRC32C finds damage four times faster than SHA256, and only damage: it
	// reveals nothing about a content that somebody chose.
	CRC32C uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Digest reads all of r. It holds 256 KiB at most. To end it early let r fail.
func Digest(r io.Reader) (Sum, error) {
	fast, slow := crc32.New(castagnoli), sha256.New()
	n, err := pass(io.MultiWriter(fast, slow), r)
	if err != nil {
		return Sum{Bytes: n}, err
	}
	return Sum{Bytes: n, SHA256: hex.EncodeToString(slow.Sum(nil)), CRC32C: fast.Sum32()}, nil
}

// Holds reports whether r still yields what the sum was computed of, as far as
// an accident can change it.
func (s Sum) Holds(r io.Reader) (bool, error) {
	fast := crc32.New(castagnoli)
	n, err := pass(fast, io.LimitReader(r, s.Bytes+1))
	return n == s.Bytes && fast.Sum32() == s.CRC32C, err
}

func pass(to io.Writer, r io.Reader) (int64, error) {
	// Without its other methods r cannot choose its own buffer.
	return io.CopyBuffer(to, struct{ io.Reader }{r}, make([]byte, digestBuffer))
}

// DamagedError says which file of an artifact is not what the manifest says,
// and how.
type DamagedError struct {
	File string
	How  string // "is missing", "has 3 bytes, not 4", "has the digest ..., not ..."
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("snapshot is damaged: file %q %s", e.File, e.How)
}

// Verify compares what the files of an artifact hold, by name, with what the
// manifest says. It returns a *DamagedError for the first that differs.
func Verify(files []File, got map[string]Sum) error {
	for _, f := range files {
		sum, ok := got[f.Name]
		switch {
		case !ok:
			return MissingFile(f.Name)
		case sum.Bytes != f.Bytes:
			return &DamagedError{f.Name, fmt.Sprintf("has %d bytes, not %d", sum.Bytes, f.Bytes)}
		case sum.SHA256 != f.SHA256:
			return &DamagedError{f.Name, fmt.Sprintf("has the digest %s, not %s", sum.SHA256, f.SHA256)}
		}
	}
	return nil
}

// MissingFile is the error for a file that is not there.
func MissingFile(name string) *DamagedError { return &DamagedError{name, "is missing"} }
