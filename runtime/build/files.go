package build

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/builds"
)

// HasFiles reports whether the files of a COPY are there.
func (b *Builder) HasFiles(ctx context.Context, templateID, hash string) (bool, error) {
	t, err := b.uploading(ctx, templateID, hash)
	if err != nil {
		return false, err
	}
	path, _, err := b.files.Find(t.ID, hash)
	return path != "", err
}

// PutFiles keeps the files of a COPY: all of them or nothing. Those that are there already stay.
func (b *Builder) PutFiles(ctx context.Context, templateID, hash string, archive io.Reader) error {
	t, err := b.uploading(ctx, templateID, hash)
	if err != nil {
		return err
	}
	if err := b.room(ctx, b.cfg.Site.Admission.CheckBuild); err != nil {
		return err
	}
	if err := b.files.Put(ctx, t.ID, hash, archive); err != nil {
		return fault.Classify(err)
	}
	if _, err := b.named(ctx, t.ID); errors.Is(err, sandbox.ErrTemplateNotFound) { // It was deleted meanwhile, and its files before these came.
		return errors.Join(err, b.files.Remove(t.ID))
	}
	return nil
}

func (b *Builder) uploading(ctx context.Context, templateID, hash string) (builds.Template, error) {
	if !sandbox.ValidFilesHash(hash) {
		return builds.Template{}, fmt.Errorf("%w: the hash of files has 64 hexadecimal digits", sandbox.ErrInvalid)
	}
	return b.named(ctx, templateID)
}

// digests returns the digests of the files that steps copy, by the hashes of the client.
func (b *Builder) digests(templateID string, steps []recipe.Step) (map[string]string, error) {
	digests := map[string]string{}
	for i, s := range steps {
		if s.Copy == nil {
			continue
		}
		path, digest, err := b.files.Use(templateID, s.Copy.Hash)
		if err != nil {
			return nil, err
		}
		if path == "" {
			return nil, fmt.Errorf("%w: step %d: the files of COPY %s were not uploaded", sandbox.ErrInvalid, i+1, s.Copy.Source)
		}
		digests[s.Copy.Hash] = digest
	}
	return digests, nil
}
