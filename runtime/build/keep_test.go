package build

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
	"github.com/rundlet/rundlet/vm/memvm"
)

// A template that is deleted while its machines are to be kept warm is not kept warm afterwards: they would be made from what is gone.
func TestADeletedTemplateIsDroppedLast(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	snap := store.Snapshot{ID: "s1", Kind: claim.KindTemplate, State: store.SnapshotReady, VMID: "v1", Snapshot: "s", Spec: "{}", CreatedAt: time.Now()}
	tpl := builds.Template{ID: "t1", Name: "mine", CreatedAt: time.Now()}
	row := builds.Build{ID: "b1", State: sandbox.BuildWaiting, Tags: []string{sandbox.DefaultTag}, CreatedAt: time.Now()}
	if err := errors.Join(db.Snapshots.Put(t.Context(), &snap), db.Builds.Begin(t.Context(), &tpl, &row, builds.Bounds{Waiting: 9, Templates: 9})); err != nil {
		t.Fatal(err)
	}
	row.State, row.SnapshotID = sandbox.BuildReady, snap.ID
	if err := db.Builds.Ready(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	group, log := background.New(t.Context()), slog.New(slog.DiscardHandler)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var events []string
	event := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, what)
	}
	b := New(Config{
		Site: site.Config{
			Admission: admission.New(admission.Config{Life: group.Context(), Log: log}), Log: log,
			Claims: claim.New(claim.Config{Driver: memvm.New(memvm.Options{Host: memvm.NewHost()}), Background: group, Steps: &step.Recorder{}, Log: log, Freed: func(string) {},
				Store: claim.Store{Snapshots: db.Snapshots, Sandboxes: db.Sandboxes, Environments: db.Environments, Templates: db.Templates, Garbage: db.Garbage}}),
		},
		Store: Store{Builds: db.Builds, Snapshots: db.Snapshots}, Files: t.TempDir(), Background: group, Log: log,
		Keep: func(from claim.Origin) {
			close(begun)
			<-goOn
			event("keep " + from.VMID)
		},
		Drop: func(id string) { event("drop " + id) },
	})
	go b.keep(context.WithoutCancel(t.Context()), tpl.ID)
	<-begun
	deleted := make(chan error)
	go func() { deleted <- b.DeleteTemplate(t.Context(), tpl.ID) }()
	for { // Until the rows are gone, and nothing but Keep is in the way.
		if _, err := db.Builds.Template(t.Context(), tpl.ID); errors.Is(err, store.ErrNotFound) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Millisecond)
	}
	close(goOn)
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	b.keep(t.Context(), tpl.ID) // As a build that ends now.
	if want := []string{"keep v1", "drop t1"}; !slices.Equal(events, want) {
		t.Errorf("got %q, want %q", events, want)
	}
	group.Stop()
	group.Wait()
}
