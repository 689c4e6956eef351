// Package uploads keeps the files that clients upload for builds of templates. It may import the standard library
// and internal packages.
package uploads

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keep is how long files are kept that no build needs.
const keep = 7 * 24 * time.Hour

// unfinished begins the names of archives that are not complete.
const unfinished = "upload-"

// Store keeps archives below a directory: one for each template and hash that a client gave it. The name of a file is
// HASH.DIGEST, with the digest of its content: what a client calls its files proves nothing. Safe for concurrent use.
type Store struct {
	Dir string
	// MaxBytes is how many bytes all archives together may have; the newest one may have more.
	MaxBytes int64
	// Room is asked during an upload; its error ends the upload.
	Room func() error
}

// Find returns the path of an archive and the SHA-256 of its content, in hexadecimal; empty if it is not there. template and hash are
// letters and digits.
func (s Store) Find(template, hash string) (path, digest string, err error) {
	found, err := filepath.Glob(filepath.Join(s.Dir, template, hash+".*"))
	if err != nil || len(found) == 0 {
		return "", "", err
	}
	_, digest, _ = strings.Cut(filepath.Base(found[0]), ".")
	return found[0], digest, nil
}

// Use is Find of an archive that is kept for a week from now on.
func (s Store) Use(template, hash string) (path, digest string, err error) {
	path, digest, err = s.Find(template, hash)
	if err != nil || path == "" {
		return "", "", err
	}
	now := time.Now()
	err = os.Chtimes(path, now, now)
	return path, digest, err
}

// Put keeps an archive: all of it or nothing. One that is there already stays, and its new content is read to the end.
func (s Store) Put(ctx context.Context, template, hash string, archive io.Reader) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep uploaded files: %w", err)
		}
	}()
	archive = checked{ctx, archive, s.Room}
	if path, _, err := s.Find(template, hash); err != nil || path != "" {
		if err == nil {
			_, err = io.Copy(io.Discard, archive)
		}
		return err
	}
	dir := filepath.Join(s.Dir, template)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, unfinished)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), archive); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // A power cut must not leave a whole name with half of the content.
		return err
	}
	path := filepath.Join(dir, hash+"."+hex.EncodeToString(sum.Sum(nil)))
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return s.trim(path)
}

// trim removes the archives that were not used for longest, until all together have no more bytes than they may. A build
// that needs one of them says so. The newest one stays.
func (s Store) trim(newest string) error {
	var all []fs.FileInfo
	total, paths := int64(0), map[fs.FileInfo]string{}
	err := s.walk(func(path string, info fs.FileInfo) error {
		if path == newest {
			total += info.Size()
		} else if !strings.HasPrefix(info.Name(), unfinished) {
			all, paths[info] = append(all, info), path
		}
		return nil
	})
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range all {
		if total += info.Size(); total > s.MaxBytes {
			err = errors.Join(err, os.Remove(paths[info]))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Another call removed it.
	}
	return err
}

// checked ends when its caller goes away, or there is no room.
type checked struct {
	ctx context.Context
	io.Reader
	room func() error
}

func (c checked) Read(p []byte) (int, error) {
	if err := errors.Join(context.Cause(c.ctx), c.room()); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// Remove removes all archives of a template.
func (s Store) Remove(template string) error { return os.RemoveAll(filepath.Join(s.Dir, template)) }

// Sweep removes archives that are not complete, and those that no build needed for long. It is called when
// nothing is uploaded.
func (s Store) Sweep() error {
	return s.walk(func(path string, info fs.FileInfo) error {
		if strings.HasPrefix(info.Name(), unfinished) || time.Since(info.ModTime()) > keep {
			return os.Remove(path)
		}
		return nil
	})
}

// walk calls visit for each file. One that vanishes is left out.
func (s Store) walk(visit func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(s.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				err = visit(path, info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
