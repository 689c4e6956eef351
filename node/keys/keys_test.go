package keys

import (
	"context"
	"slices"
	"testing"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
)

var _ e2b.KeyStore = Store{}

func TestDefaultKeyIsMadeOnceByMany(t *testing.T) {
	l := layout.Layout{StateDir: t.TempDir()}
	db, err := store.Open(t.Context(), l.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys := make(chan string)
	for range 8 {
		go func() {
			key, err := Default(context.Background(), db, l)
			if err != nil {
				t.Error(err)
			}
			keys <- key
		}()
	}
	var got []string
	for range 8 {
		got = append(got, <-keys)
	}
	if slices.Sort(got); len(slices.Compact(got)) != 1 {
		t.Errorf("keys %q", got)
	}
}
