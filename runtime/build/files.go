package build

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
	"strings"
	"time"

	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// The files of a COPY are one archive in a directory of the template, whose name has the hash that the client gave it and
// the digest of its content: HASH.DIGEST. Archives that are not complete have other names.
const unfinished = "upload-"

// HasFiles reports whether the files of a COPY are there.
func (b *Builder) HasFiles(ctx context.Context, templateID, hash string) (bool, error) {
	t, err := b.named(ctx, templateID)
	if err != nil {
		return false, err
	}
	if !recipe.ValidHash(hash) {
		return false, fmt.Errorf("%w: the hash of files has 64 hexadecimal digits", sandbox.ErrInvalid)
	}
	path, err := b.archive(t.ID, hash)
	return path != "", err
}

// PutFiles keeps the files of a COPY: all of them or nothing. Those that are there already stay.
func (b *Builder) PutFiles(ctx context.Context, templateID, hash string, archive io.Reader) (err error) {
	if there, err := b.HasFiles(ctx, templateID, hash); err != nil {
		return err
	} else if there {
		_, err := io.Copy(io.Discard, archive)
		return err
	}
	if err := b.room(ctx); err != nil {
		return err
	}
	t, err := b.named(ctx, templateID)
	if err != nil {
		return err
	}
	dir := filepath.Join(b.cfg.Files, t.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Classify(err)
	}
	f, err := os.CreateTemp(dir, unfinished)
	if err != nil {
		return fault.Classify(err)
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(fault.Classify(err), os.Remove(f.Name()))
		}
	}()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), checked{ctx, archive, b}); err != nil {
		return fmt.Errorf("keep uploaded files: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("keep uploaded files: %w", err)
	}
	return os.Rename(f.Name(), filepath.Join(dir, hash+"."+hex.EncodeToString(sum.Sum(nil))))
}

// checked is an upload that ends when its caller goes away or the disk gets too full.
type checked struct {
	ctx context.Context
	io.Reader
	b *Builder
}

func (c checked) Read(p []byte) (int, error) {
	if err := errors.Join(context.Cause(c.ctx), c.b.cfg.Site.Admission.CheckBuild()); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// archive is the path of uploaded files; empty if they are not there.
func (b *Builder) archive(templateID, hash string) (string, error) {
	found, err := filepath.Glob(filepath.Join(b.cfg.Files, templateID, hash+".*"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}

// contents returns the digests of the files that steps copy, by the hashes of the client.
func (b *Builder) digests(templateID string, steps []recipe.Step) (map[string]string, error) {
	digests := map[string]string{}
	for i, s := range steps {
		if s.Copy == nil {
			continue
		}
		path, err := b.archive(templateID, s.Copy.Hash)
		if err != nil {
			return nil, err
		}
		if path == "" {
			return nil, fmt.Errorf("%w: step %d: the files of COPY %s were not uploaded", sandbox.ErrInvalid, i+1, s.Copy.Source)
		}
		now := time.Now() // They are in use, for another week.
		if err := os.Chtimes(path, now, now); err != nil {
			return nil, err
		}
		_, digests[s.Copy.Hash], _ = strings.Cut(filepath.Base(path), ".")
	}
	return digests, nil
}

// removeFiles removes all that was uploaded for a template.
func (b *Builder) removeFiles(templateID string) error {
	return fault.Classify(os.RemoveAll(filepath.Join(b.cfg.Files, templateID)))
}

// sweepFiles removes uploads that were not finished, and those that no build needed for long.
func (b *Builder) sweepFiles() error {
	return filepath.WalkDir(b.cfg.Files, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil && (strings.HasPrefix(entry.Name(), unfinished) || time.Since(info.ModTime()) > keepFiles) {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
