// Package keys keeps the API keys of a node in its database, and the operator's own
// key, which the command line of the machine uses, in a file beside it. It may import
// e2b, layout, sandbox, store and node/statedir; node/daemon and the commands import
// it.
package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Store keeps API keys in a database. It implements e2b.KeyStore.
type Store struct{ db *store.Store }

// New returns the keys of a database, which the caller closes.
func New(db *store.Store) Store { return Store{db} }

// Create makes a key and returns its text, which is kept nowhere.
func (k Store) Create(ctx context.Context, name string) (e2b.Key, string, error) {
	key, text := e2b.NewKey(name, time.Now())
	hash := e2b.HashKey(text)
	err := k.db.Keys.Add(ctx, store.Key{ID: key.ID, Name: key.Name, Hash: hash[:], Hint: key.Mask, CreatedAt: key.CreatedAt})
	return key, text, diskFull(err)
}

// List returns all keys.
func (k Store) List(ctx context.Context) ([]e2b.Key, error) {
	rows, err := k.db.Keys.All(ctx)
	out := make([]e2b.Key, len(rows))
	for i, row := range rows {
		out[i] = keyOf(row)
	}
	return out, err
}

// Remove removes a key; e2b.ErrBadKey if there is none.
func (k Store) Remove(ctx context.Context, id string) error {
	err := k.db.Keys.Remove(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return e2b.ErrBadKey
	}
	return diskFull(err)
}

// diskFull gives an error of the store the class that the API knows.
func diskFull(err error) error {
	if errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: %w", sandbox.ErrDiskFull, err)
	}
	return err
}

// Verify returns the key with that text; e2b.ErrBadKey if there is none. It asks the
// database each time, a look-up by index in memory, so that a key that another
// process removed is refused at once.
func (k Store) Verify(ctx context.Context, text string) (e2b.Key, error) {
	hash := e2b.HashKey(text)
	row, err := k.db.Keys.ByHash(ctx, hash[:])
	if errors.Is(err, store.ErrNotFound) {
		return e2b.Key{}, e2b.ErrBadKey
	}
	return keyOf(row), diskFull(err)
}

func keyOf(row store.Key) e2b.Key {
	return e2b.Key{ID: row.ID, Name: row.Name, Mask: row.Hint, CreatedAt: row.CreatedAt}
}

// DefaultFile is the file with the operator's own key: the database has only its hash,
// and this machine's command line needs the text. Its owner alone can read it.
func DefaultFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "default-key") }

// ReadDefault returns the operator's own key, or nothing.
func ReadDefault(dirs layout.Layout) string {
	b, err := os.ReadFile(DefaultFile(dirs))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Default returns the operator's own key; it makes one if there is none, or
// if the one in the file was removed from the database.
func Default(ctx context.Context, db *store.Store, dirs layout.Layout) (string, error) {
	path := DefaultFile(dirs)
	unlock, err := statedir.AwaitLock(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if text := ReadDefault(dirs); text != "" {
		if _, err := New(db).Verify(ctx, text); !errors.Is(err, e2b.ErrBadKey) {
			return text, err
		}
	}
	_, text, err := New(db).Create(ctx, "default")
	if err != nil {
		return "", err
	}
	return text, os.WriteFile(path, []byte(text+"\n"), 0o600)
}

// Known returns the operator's own key, and writes only if there is none.
func Known(ctx context.Context, dirs layout.Layout) (string, error) {
	if text := ReadDefault(dirs); text != "" {
		db, err := statedir.OpenToRead(ctx, dirs)
		if err == nil {
			_, err = New(db).Verify(ctx, text)
			db.Close()
			if err == nil {
				return text, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, e2b.ErrBadKey) {
			return "", err
		}
	}
	db, err := statedir.OpenToChange(ctx, dirs)
	if err != nil {
		return "", err
	}
	defer db.Close()
	return Default(ctx, db, dirs)
}
