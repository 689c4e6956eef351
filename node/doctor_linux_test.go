package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func TestTheDoctorReportsWhatWasSetAside(t *testing.T) {
	l := dirs(t)
	db, err := store.Open(t.Context(), l.Database())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	if _, err := db.Orphans.SetAside(t.Context(), store.OrphanSnapshot, "i1", "s1", at); err != nil {
		t.Fatal(err)
	}
	for _, row := range []store.Sandbox{
		{ID: "i2", State: "hibernating"},
		{ID: "i3", State: "paused", Reason: "its snapshot is missing", QuarantinedAt: at, SnapshotID: "x"},
		{ID: "i4", State: "paused", SnapshotID: "y"},
	} {
		if err := db.Sandboxes.Put(t.Context(), &row); err != nil {
			t.Fatal(err)
		}
	}
	id, err := db.Settings.NodeID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text := nodeID(t.Context(), l); !strings.HasSuffix(text, id) {
		t.Errorf("it says %q of node %s", text, id)
	}
	f := findings{name: "state", fine: "fine"}
	stateProblems(t.Context(), l, &f)
	if got := f.list(); len(got) != 2 || got[0].Status != doctor.Warn || !strings.Contains(got[0].Hint, "orphan ls") || !strings.Contains(got[1].Detail, "2 sandboxes") {
		t.Errorf("%+v", got)
	}
	// To restore a backup would not help here.
	if err := os.WriteFile(filepath.Join(l.StateDir, "format"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = findings{name: "state", fine: "fine"}
	stateProblems(t.Context(), l, &f)
	if got := f.list(); len(got) != 1 || got[0].Status != doctor.Fail || !strings.Contains(got[0].Hint, "newer program") {
		t.Errorf("a newer state directory: %+v", got)
	}
}

func TestTheDoctorHasTheChecksOfEveryDriver(t *testing.T) {
	var names []string
	for _, check := range Checks(dirs(t)) {
		for _, f := range check(t.Context()) {
			names = append(names, f.Name)
		}
	}
	for _, d := range vm.Drivers() {
		if !slices.Contains(names, d.Name) {
			t.Errorf("no finding of %s in %v", d.Name, names)
		}
	}
	if text := nodeID(t.Context(), dirs(t)); text != "" {
		t.Errorf("the id of a node that never was: %q", text)
	}
	if !slices.Contains(names, "network") || !slices.Contains(names, "state") {
		t.Errorf("findings %v", names)
	}
}
