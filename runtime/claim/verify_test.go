package claim

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/vm"
)

// A disk that loses a bit changes no time of the file: the next real
// read finds it, and there is one at the latest when the last is too old.
func TestWhatADiskLosesIsFoundWhenTheLastReadIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := background.New(t.Context())
		defer group.Wait()
		defer group.Stop()
		v := newVerifier(group)
		path := filepath.Join(t.TempDir(), "pages.img")
		if err := os.WriteFile(path, []byte("what was saved"), 0o600); err != nil {
			t.Fatal(err)
		}
		files := []vm.SnapshotFile{{Name: "pages.img", Path: path, Bytes: 14}}
		sums, err := v.contents(t.Context(), "k", files)
		if err != nil {
			t.Fatal(err)
		}
		sum := sums["pages.img"]
		manifest, err := snapshot.Encode(snapshot.Manifest{
			ID: "k", Kind: snapshot.KindSnapshot, Source: "i1", CreatedAt: time.Now(),
			Stamp: snapshot.Stamp{Driver: "d", Version: "1", Arch: "a"},
			Files: []snapshot.File{{Name: "pages.img", Bytes: sum.Bytes, SHA256: sum.SHA256}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("what was SAVED"), 0o600); err != nil {
			t.Fatal(err)
		}
		// The times say that nothing changed.
		states, err := statesOf(files)
		if err != nil {
			t.Fatal(err)
		}
		e := v.entries["k"]
		e.states = states
		v.entries["k"] = e
		if err := v.compare(t.Context(), "k", string(manifest), files); err != nil {
			t.Fatalf("it was read again too soon: %v", err)
		}
		time.Sleep(believedFor)
		var damaged *snapshot.DamagedError
		if err := v.compare(t.Context(), "k", string(manifest), files); !errors.As(err, &damaged) {
			t.Errorf("got %v", err)
		}
	})
}
