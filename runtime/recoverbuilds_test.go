package runtime

import (
	"fmt"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

// TestABuildThatAnotherProcessEndsKeepsNoOtherBuilding: a pull of a template writes its row beside a daemon that starts.
func TestABuildThatAnotherProcessEndsKeepsNoOtherBuilding(t *testing.T) {
	ctx, f := t.Context(), newFixture(t)
	var ids []string
	for i := range 3 {
		b, err := f.rt.BeginBuild(ctx, sandbox.TemplateRequest{Name: fmt.Sprint("mine", i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, b.ID)
	}
	db := rawDatabase(t, f.dbPath)
	// Whichever of them comes first, another one ends right after it.
	_, err := db.ExecContext(ctx, `UPDATE builds SET state = 'building'; CREATE TABLE ended (id TEXT);
		CREATE TRIGGER ends AFTER UPDATE ON builds WHEN new.state = 'error' AND NOT EXISTS (SELECT 1 FROM ended) BEGIN
			INSERT INTO ended SELECT id FROM builds WHERE state = 'building' ORDER BY created_at LIMIT 1;
			UPDATE builds SET state = 'ready', version = version + 1 WHERE id IN (SELECT id FROM ended);
		END`)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.rt.RecoverBuilds(ctx); err != nil {
		t.Errorf("recover: %v", err)
	}
	states := map[sandbox.BuildState]int{}
	for _, id := range ids {
		var state sandbox.BuildState
		if err := db.QueryRowContext(ctx, `SELECT state FROM builds WHERE id = ?`, id).Scan(&state); err != nil {
			t.Fatal(err)
		}
		states[state]++
	}
	if states[sandbox.BuildFailed] != 2 || states[sandbox.BuildReady] != 1 {
		t.Errorf("the builds are %v, want the one that ended ready and the others failed", states)
	}
}

// TestARowThatCannotBeWrittenKeepsNoOtherBuilding: what can be done at a start is done.
func TestARowThatCannotBeWrittenKeepsNoOtherBuilding(t *testing.T) {
	ctx, f := t.Context(), newFixture(t)
	for i := range 3 {
		if _, err := f.rt.BeginBuild(ctx, sandbox.TemplateRequest{Name: fmt.Sprint("mine", i)}); err != nil {
			t.Fatal(err)
		}
	}
	db := rawDatabase(t, f.dbPath)
	if _, err := db.ExecContext(ctx, `UPDATE builds SET state = 'building'`); err != nil {
		t.Fatal(err)
	}
	rows, err := f.db.Builds.Unfinished(ctx)
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d builds, %v", len(rows), err)
	}
	_, err = db.ExecContext(ctx, `CREATE TRIGGER bad BEFORE UPDATE ON builds WHEN old.id = '`+rows[0].ID+`' BEGIN SELECT RAISE(ABORT, 'bad'); END`)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.rt.RecoverBuilds(ctx); err == nil {
		t.Error("no error says that a row was not written")
	}
	var building int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM builds WHERE state = 'building'`).Scan(&building); err != nil || building != 1 {
		t.Errorf("%d builds go on for ever, want the one whose row cannot be written; %v", building, err)
	}
}
