package events

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

var now = time.Unix(1_700_000_000, 0)

// Each pair of states, with an end that has moved and with one that has not.
func TestChangesAreEvents(t *testing.T) {
	type pair struct{ was, is sandbox.State }
	want := map[pair]sandbox.EventType{
		{"", sandbox.StateRunning}:                    sandbox.EventCreated,
		{sandbox.StateCreating, sandbox.StateRunning}: sandbox.EventCreated,
		{sandbox.StateResuming, sandbox.StateRunning}: sandbox.EventResumed,
		{sandbox.StateRunning, sandbox.StatePaused}:   sandbox.EventPaused,
		{sandbox.StatePausing, sandbox.StatePaused}:   sandbox.EventPaused,
	}
	moved := map[pair]bool{{sandbox.StateRunning, sandbox.StateRunning}: true, {sandbox.StatePausing, sandbox.StateRunning}: true}
	for _, was := range append([]sandbox.State{""}, sandbox.States...) {
		for _, is := range sandbox.States {
			for _, moves := range []bool{false, true} {
				row := store.Sandbox{ID: "i1", State: is, StartedAt: now, EndAt: now, Version: 1}
				before := live.Written{State: was, EndAt: now}
				if moves {
					before.EndAt = now.Add(time.Second)
				}
				expected := want[pair{was, is}]
				if moves && moved[pair{was, is}] {
					expected = sandbox.EventUpdated
				}
				if is == sandbox.StateKilled && was != sandbox.StateKilled {
					expected = sandbox.EventKilled
				}
				var got sandbox.EventType
				events := changes(before, row, now)
				if len(events) > 0 {
					got = events[0].Type
				}
				if got != expected || len(events) > 1 {
					t.Errorf("from %q to %q, end moved %v: %q, want %q", was, is, moves, got, expected)
				}
			}
		}
	}
}

func TestWhatNeverRanHasNoEvents(t *testing.T) {
	if got := changes(live.Written{State: sandbox.StateKilling}, store.Sandbox{State: sandbox.StateKilled}, now); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestDataIsBoundedAndHasNoSecrets(t *testing.T) {
	long := changes(live.Written{}, store.Sandbox{State: sandbox.StateRunning, Metadata: map[string]string{"a": strings.Repeat("x", 60<<10)}}, now)
	if got := string(long[0].Data); got != `{"omitted_bytes":61469}` {
		t.Errorf("long metadata: %.100s", got)
	}
	none := changes(live.Written{}, store.Sandbox{State: sandbox.StateRunning}, now)
	if got := string(none[0].Data); got != `{"sandbox_metadata":{}}` {
		t.Errorf("without metadata: %s", got)
	}
	no := false
	row := store.Sandbox{State: sandbox.StateRunning, AllowInternet: &no, Egress: sandbox.Egress{
		Allow: []string{"a.example"}, Headers: map[string]map[string]string{"a.example": {"X": "hunter2"}}, Proxy: &sandbox.Proxy{Address: "p:1", Password: "hunter2"},
	}}
	changed := changes(live.Written{State: sandbox.StateRunning, EndAt: row.EndAt}, row, now)
	if got := string(changed[0].Data); got != `{"set_network":{"allow_internet_access":false,"allow_out":["a.example"],"deny_out":[]}}` {
		t.Errorf("network: %s", got)
	}
	for _, e := range [][]byte{long[0].Data, changed[0].Data} {
		if len(e) > sandbox.MaxEventData {
			t.Errorf("%d bytes", len(e))
		}
	}
}

func TestAnExecutionIsFromAStartToTheNext(t *testing.T) {
	row := store.Sandbox{ID: "i1", StartedAt: now.Add(123456789 * time.Nanosecond)}
	first := execution(row)
	if _, err := uuid.Parse(first); err != nil {
		t.Error(err)
	}
	read := row
	read.StartedAt = time.UnixMicro(row.StartedAt.UnixMicro()).UTC() // As the database has it.
	if again := execution(read); again != first {
		t.Errorf("%s after a restart, %s before", again, first)
	}
	read.StartedAt = read.StartedAt.Add(time.Microsecond)
	other := row
	other.ID = "i2"
	if execution(read) == first || execution(other) == first {
		t.Error("another start or another sandbox has the same execution")
	}
}

func TestOnlySnapshotsOfClientsAreCheckpoints(t *testing.T) {
	for kind, want := range map[string]string{
		"snapshot": `{"name":"n","snapshot_id":"c"}`, "continuation": `{"reason":"idle","snapshot_id":"c"}`, "pause": "", "fork": "", "template": "", "layer": "",
	} {
		got := ""
		for _, e := range checkpoint(store.Sandbox{ID: "i1"}, store.Snapshot{ID: "c", Name: "n", Kind: kind, Reason: "idle"}, now) {
			got += string(e.Data)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}
