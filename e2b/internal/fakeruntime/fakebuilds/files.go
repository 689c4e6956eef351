package fakebuilds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// BreakFiles makes PutFiles fail with err when it has read so many bytes; nil ends that.
func (b *Builds) BreakFiles(at int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.breakAt, b.breakWith = at, err
}

// Receiving is how many archives are being read.
func (b *Builds) Receiving() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.receiving
}

// Files are the SHA-256 digests of the archives that are kept, by template and hash.
func (b *Builds) Files() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]string{}
	for k, v := range b.files {
		out[k] = v
	}
	return out
}

// HasFiles implements templates.Runtime.
func (b *Builds) HasFiles(_ context.Context, templateID, hash string) (bool, error) {
	if err := b.enter(); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	t, err := b.find(templateID)
	if err != nil {
		return false, err
	}
	return b.files[t.ID+"/"+hash] != "", nil
}

// PutFiles implements templates.Runtime. Like a runtime, it does not read what is there already, and does not look at its context
// while it reads.
func (b *Builds) PutFiles(_ context.Context, templateID, hash string, archive io.Reader) error {
	if err := b.enter(); err != nil {
		return err
	}
	t, err := b.find(templateID)
	if err != nil || b.files[t.ID+"/"+hash] != "" {
		b.mu.Unlock()
		return err
	}
	b.receiving++
	at, with := b.breakAt, b.breakWith
	b.mu.Unlock()
	digest := sha256.New()
	if with != nil {
		_, err = io.CopyN(digest, archive, at)
		if err == nil {
			err = with
		}
	} else {
		_, err = io.Copy(digest, archive)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receiving--
	if err != nil {
		return fmt.Errorf("keep files %s: %w", hash, err)
	}
	if b.files == nil {
		b.files = map[string]string{}
	}
	b.files[t.ID+"/"+hash] = hex.EncodeToString(digest.Sum(nil))
	return nil
}
