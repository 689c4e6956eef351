package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/store"
)

func TestWhatWasSetAsideIsListedAndGivenUpByCommand(t *testing.T) {
	l := home(t)
	if list := must(t, "orphan", "ls", "--json"); strings.TrimSpace(list) != "[]" {
		t.Errorf("without a database: %s", list)
	}
	db, err := store.Open(t.Context(), l.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	kept, err := db.Orphans.SetAside(t.Context(), store.OrphanSnapshot, "i1", "s1", at)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []store.Sandbox{
		{ID: "i2", State: "hibernating"},
		{ID: "i3", State: "paused", Reason: "its snapshot is missing", QuarantinedAt: at, SnapshotID: "x"},
		{ID: "i4", State: "paused", SnapshotID: "y"},
		{ID: "i5", State: "running"},
	} {
		if err := db.Sandboxes.Put(t.Context(), &row); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]node.Orphan{}
	for _, line := range decode[[]node.Orphan](t, must(t, "orphan", "ls", "--json")) {
		got[line.Name] = line
	}
	if len(got) != 3 || got[kept.Name].Until.Sub(at) != 7*24*time.Hour || !strings.Contains(got["i2"].Reason, "hibernating") ||
		!strings.Contains(got["i3"].Reason, "missing") || got["i3"].Kind != "sandbox" {
		t.Errorf("%+v", got)
	}
	if table := must(t, "orphan", "ls"); !strings.Contains(table, kept.Name) || !strings.Contains(table, "quarantined") {
		t.Errorf("%s", table)
	}
	must(t, "orphan", "rm", kept.Name)
	if all, err := db.Orphans.All(t.Context()); err != nil || len(all) != 1 || !all[0].Discard {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := cli(t, "orphan", "rm", "20300102-i9"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
