package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// digestBuffer is all the memory that a digest takes, however long the file.
const digestBuffer = 256 << 10

// Digest returns the hexadecimal SHA-256 of what r yields and its length in
// bytes. It holds 256 KiB at most. To end it early let r fail.
func Digest(r io.Reader) (sum string, n int64, err error) {
	h := sha256.New()
	// Without its other methods r cannot choose a buffer of its own.
	n, err = io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, digestBuffer))
	if err != nil {
		return "", n, err
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}

// DamagedError says which file of an artifact is not what the manifest says,
// and how.
type DamagedError struct {
	File string
	How  string // "missing", "has 3 bytes, not 4", "its digest is ..., not ..."
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("snapshot is damaged: file %q %s", e.File, e.How)
}

// Verify compares each file with its size and then its digest. It stops at the
// first that differs, with a *DamagedError. A file that cannot be read for
// another reason than that it is missing yields that error: it proves no
// damage. Readers that can tell their size (those with a Stat method, as files
// have) are asked for it before they are read.
func Verify(files []File, open func(name string) (io.ReadCloser, error)) error {
	for _, f := range files {
		if err := f.verify(open); err != nil {
			return err
		}
	}
	return nil
}

func (f File) verify(open func(name string) (io.ReadCloser, error)) error {
	r, err := open(f.Name)
	if err != nil {
		return f.unreadable("open", err)
	}
	defer r.Close()
	if s, ok := r.(interface{ Stat() (fs.FileInfo, error) }); ok {
		info, err := s.Stat()
		if err != nil {
			return f.unreadable("stat", err)
		}
		if err := f.sized(info.Size()); err != nil {
			return err
		}
	}
	// One byte more shows a file that is too long, however much longer it is.
	sum, n, err := Digest(io.LimitReader(r, f.Bytes+1))
	if err != nil {
		return f.unreadable("read", err)
	}
	if n > f.Bytes {
		return &DamagedError{f.Name, fmt.Sprintf("has more than %d bytes", f.Bytes)}
	}
	if err := f.sized(n); err != nil {
		return err
	}
	if sum != f.SHA256 {
		return &DamagedError{f.Name, fmt.Sprintf("has the digest %s, not %s", sum, f.SHA256)}
	}
	return nil
}

// VerifySizes is the cheap form of Verify: it compares the sizes only, which
// finds what a crash or a full disk leaves, but not a changed byte.
func (m Manifest) VerifySizes(size func(name string) (int64, error)) error {
	for _, f := range m.Files {
		n, err := size(f.Name)
		if err != nil {
			return f.unreadable("stat", err)
		}
		if err := f.sized(n); err != nil {
			return err
		}
	}
	return nil
}

func (f File) sized(n int64) error {
	if n != f.Bytes {
		return &DamagedError{f.Name, fmt.Sprintf("has %d bytes, not %d", n, f.Bytes)}
	}
	return nil
}

func (f File) unreadable(op string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{f.Name, "is missing"}
	}
	return fmt.Errorf("verify snapshot: %s %s: %w", op, f.Name, err)
}
