package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// keyStore keeps the API's keys in the store.
type keyStore struct{ db *store.Store }

func (k keyStore) Create(ctx context.Context, name string) (e2b.Key, string, error) {
	key, text := e2b.NewKey(name, time.Now())
	hash := e2b.HashKey(text)
	err := k.db.AddKey(ctx, store.Key{ID: key.ID, Name: key.Name, Hash: hash[:], Hint: key.Mask, CreatedAt: key.CreatedAt})
	return key, text, diskFull(err)
}

func (k keyStore) List(ctx context.Context) ([]e2b.Key, error) {
	rows, err := k.db.Keys(ctx)
	out := make([]e2b.Key, len(rows))
	for i, row := range rows {
		out[i] = keyOf(row)
	}
	return out, err
}

func (k keyStore) Remove(ctx context.Context, id string) error {
	err := k.db.RemoveKey(ctx, id)
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

// Verify asks the database each time, a look-up by index in memory, so that a
// key that another process removed is refused at once.
func (k keyStore) Verify(ctx context.Context, text string) (e2b.Key, error) {
	hash := e2b.HashKey(text)
	row, err := k.db.KeyByHash(ctx, hash[:])
	if errors.Is(err, store.ErrNotFound) {
		return e2b.Key{}, e2b.ErrBadKey
	}
	return keyOf(row), diskFull(err)
}

func keyOf(row store.Key) e2b.Key {
	return e2b.Key{ID: row.ID, Name: row.Name, Mask: row.Hint, CreatedAt: row.CreatedAt}
}

// defaultKeyFile holds the operator's own key: the database has only its hash,
// and this machine's command line needs the text. Its owner alone can read it.
func defaultKeyFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "default-key") }

// readDefaultKey returns the operator's own key, or nothing.
func readDefaultKey(dirs layout.Layout) string {
	b, err := os.ReadFile(defaultKeyFile(dirs))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// defaultKey returns the operator's own key; it makes one if there is none, or
// if the one in the file was removed from the database.
func defaultKey(ctx context.Context, db *store.Store, dirs layout.Layout) (string, error) {
	path := defaultKeyFile(dirs)
	unlock, err := awaitLock(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if text := readDefaultKey(dirs); text != "" {
		if _, err := (keyStore{db}).Verify(ctx, text); !errors.Is(err, e2b.ErrBadKey) {
			return text, err
		}
	}
	_, text, err := keyStore{db}.Create(ctx, "default")
	if err != nil {
		return "", err
	}
	return text, os.WriteFile(path, []byte(text+"\n"), 0o600)
}

func newKeys(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Make, list and remove API keys"}
	var name string
	create := &cobra.Command{
		Use: "create", Short: "Make an API key; it is shown this once", Args: cobra.NoArgs,
		RunE: withKeys(o, store.OpenAsItIs, func(cmd *cobra.Command, keys keyStore, _ []string) error {
			key, text, err := keys.Create(cmd.Context(), name)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"id": key.ID, "name": key.Name, "key": text})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		}),
	}
	create.Flags().StringVar(&name, "name", "", "what the key is for")
	cmd.AddCommand(create,
		&cobra.Command{
			Use: "ls", Short: "List the API keys", Args: cobra.NoArgs,
			RunE: withKeys(o, openToRead, func(cmd *cobra.Command, keys keyStore, _ []string) error {
				list, err := keys.List(cmd.Context())
				if err != nil {
					return err
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), keyLines(list))
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "ID\tNAME\tKEY\tCREATED")
				for _, k := range list {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Mask, k.CreatedAt.Format(time.RFC3339))
				}
				return w.Flush()
			}),
		},
		&cobra.Command{
			Use: "rm ID", Short: "Remove an API key; it is refused from now on", Args: cobra.ExactArgs(1),
			RunE: withKeys(o, store.OpenAsItIs, func(cmd *cobra.Command, keys keyStore, args []string) error {
				if err := keys.Remove(cmd.Context(), args[0]); err != nil {
					return fmt.Errorf("remove key %q: %w", args[0], err)
				}
				return nil
			}),
		})
	return cmd
}

// keyLine is a key as programs read it.
type keyLine struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Mask      string    `json:"mask"`
	CreatedAt time.Time `json:"created_at"`
}

func keyLines(list []e2b.Key) []keyLine {
	out := make([]keyLine, len(list))
	for i, k := range list {
		out[i] = keyLine(k)
	}
	return out
}

type opener func(context.Context, string) (*store.Store, error)

// openToRead opens a database for reading; before the first start there is none, and
// an empty one is made.
func openToRead(ctx context.Context, path string) (*store.Store, error) {
	db, err := store.OpenReadOnly(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return store.OpenAsItIs(ctx, path)
	}
	return db, err
}

func withKeys(o *options, open opener, f func(*cobra.Command, keyStore, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		dirs, err := o.layout()
		if err != nil {
			return err
		}
		db, err := open(cmd.Context(), dirs.Database())
		if err != nil {
			return err
		}
		defer db.Close()
		return f(cmd, keyStore{db}, args)
	}
}
