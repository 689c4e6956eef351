package reconcile

import (
	"errors"
	"fmt"
	"github.com/rundlet/rundlet/sandbox"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/vm"
)

func TestFoundThingsAreCleanedUpOrQuarantined(t *testing.T) {
	for _, tc := range []struct {
		kind Kind
		id   string
		want Class
	}{
		{KindOrphan, "a", ClassCleanup},
		{KindUnclaimed, "a", ClassQuarantine},
		{"ghost", "a", ClassQuarantine},
		{KindOrphan, "", ClassQuarantine},
	} {
		got := Found(tc.kind, tc.id)
		if got.Action.Class() != tc.want || got.Kind != tc.kind || got.ID != tc.id || got.Reason == "" || got.Next != "" {
			t.Errorf("%+v: got %+v", tc, got)
		}
	}
}

func TestRowWithoutIDIsQuarantined(t *testing.T) {
	every(func(row Row, m Machine, network bool) {
		if got := Sandbox("", row, m, network); got.Action != Quarantine || got.Next.Transitional() {
			t.Errorf("%+v: got %+v", row, got)
		}
		if got := Sandbox("a", row, m, network); got.Decision != Decide(row, m, network) || got.ID != "a" || got.Action == Free {
			t.Errorf("%+v: got %+v", row, got)
		}
	})
}

// mixed is a plan in the wrong order.
func mixed() []Record {
	record := func(id string, a Action) Record { return Record{KindSandbox, id, Decision{Action: a, Reason: "r"}} }
	return []Record{
		record("q1", Quarantine), record("c1", Kill), record("r1", Keep), record("c2", Free), record("r2", FinishPause),
		record("r3", UndoPause), record("q2", "invented"), record("r4", BackToPaused), record("c3", Kill), record("r5", Pause),
	}
}

func ids(records []Record) string {
	var out []string
	for _, r := range records {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

const ordered = "r1 r2 r3 r4 r5 c1 c2 c3 q1 q2"

func TestRestartPathIsRecoverThenCleanUpThenQuarantine(t *testing.T) {
	plan := mixed()
	before := slices.Clone(plan)
	if got := ids(Order(plan)); got != ordered {
		t.Errorf("got %s", got)
	}
	if got := ids(Order(Order(plan))); got != ordered {
		t.Errorf("ordering again gives %s", got)
	}
	if !slices.Equal(plan, before) {
		t.Error("Order changed its argument")
	}
	var done []Record
	report, err := Apply(plan, 1, func(r Record) error { done = append(done, r); return nil })
	if err != nil || ids(done) != ordered || report != (Report{Recovered: 5, CleanedUp: 3, Quarantined: 2}) {
		t.Errorf("applied %s: %+v, %v", ids(done), report, err)
	}
	if report, err := Apply(nil, 1, nil); err != nil || report != (Report{}) {
		t.Errorf("nothing to do: %+v, %v", report, err)
	}
}

func TestExecutorFailureNamesItsRecordAndStopsNoOther(t *testing.T) {
	busy, denied := errors.New("busy"), errors.New("denied")
	var done []Record
	report, err := Apply(mixed(), 1, func(r Record) error {
		done = append(done, r)
		switch r.ID {
		case "r2":
			return busy
		case "c3":
			return fmt.Errorf("end it: %w", denied)
		}
		return nil
	})
	if ids(done) != ordered || report != (Report{Recovered: 4, CleanedUp: 2, Quarantined: 2, Failed: 2}) {
		t.Errorf("applied %s: %+v", ids(done), report)
	}
	if !errors.Is(err, busy) || !errors.Is(err, denied) {
		t.Errorf("a cause is hidden: %v", err)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{"r2", "c3"} {
		var failed *ApplyError
		if !errors.As(joined.Unwrap()[i], &failed) || failed.Record.ID != want || !strings.Contains(failed.Error(), `"`+want+`"`) {
			t.Errorf("got %v, want %s", joined.Unwrap()[i], want)
		}
	}
	if text := strings.Split(err.Error(), "\n")[0]; text != `finish pause sandbox "r2": busy` {
		t.Errorf("text is %q", text)
	}
}

func TestStuck(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const timeout = DefaultHeartbeatTimeout
	frozen := Machine{Present: true, Status: vm.StatusStopped}
	for name, tc := range map[string]struct {
		w      Watched
		want   Action
		reason string
	}{
		"heartbeat as old as the timeout": {Watched{ID: "a", Heartbeat: ago(timeout), Row: Row{State: sandbox.StateRunning}}, Kill, "stuck: no sign of life for 5m0s"},
		"heartbeat older":                 {Watched{ID: "a", Heartbeat: ago(time.Hour), Row: Row{State: sandbox.StateRunning}}, Kill, "1h0m0s"},
		"heartbeat younger":               {Watched{ID: "a", Heartbeat: ago(timeout - 1), Row: Row{State: sandbox.StateRunning}}, Preserve, ""},
		"heartbeat of the future":         {Watched{ID: "a", Heartbeat: ago(-time.Hour), Row: Row{State: sandbox.StateRunning}}, Preserve, ""},
		"no heartbeat is listened for":    {Watched{ID: "a", Row: Row{State: sandbox.StateRunning}}, Preserve, ""},
		"no id":                           {Watched{Heartbeat: ago(time.Hour), Row: Row{State: sandbox.StateRunning}}, Quarantine, "no id"},
		"no id, young":                    {Watched{Heartbeat: now, Row: Row{State: sandbox.StateRunning}}, Quarantine, "no id"},
		"paused sandboxes are silent":     {Watched{ID: "a", Heartbeat: ago(time.Hour), Row: Row{State: sandbox.StatePaused, Snapshot: true}}, Preserve, ""},
		"silent during a transition":      {Watched{ID: "a", Heartbeat: ago(time.Hour), Deadline: now.Add(1), Row: Row{State: sandbox.StatePausing}}, Preserve, ""},
		"creating for too long":           {Watched{ID: "a", Deadline: now, Row: Row{State: sandbox.StateCreating}}, Kill, "creating for too long"},
		"pausing for too long":            {Watched{ID: "a", Deadline: ago(1), Row: Row{State: sandbox.StatePausing}, Machine: frozen, Network: true}, UndoPause, "pausing for too long"},
		"pausing, complete":               {Watched{ID: "a", Deadline: ago(1), Row: Row{State: sandbox.StatePausing, Snapshot: true}, Machine: frozen}, FinishPause, ""},
		"pausing, unreadable":             {Watched{ID: "a", Deadline: ago(1), Row: Row{State: sandbox.StatePausing, Unread: "EMFILE"}}, Preserve, "EMFILE"},
		"killing, unreadable":             {Watched{ID: "a", Deadline: ago(1), Row: Row{State: sandbox.StateKilling, Reason: "oom", Unread: "EMFILE"}}, Kill, "oom"},
		"resuming for too long":           {Watched{ID: "a", Deadline: ago(1), Row: Row{State: sandbox.StateResuming, Snapshot: true}}, BackToPaused, ""},
		"killing for too long":            {Watched{ID: "a", Deadline: ago(1), Row: Row{State: sandbox.StateKilling, Reason: "oom"}}, Kill, "oom"},
		"transition without a deadline":   {Watched{ID: "a", Row: Row{State: sandbox.StateCreating}}, Kill, "creating"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Stuck([]Watched{tc.w, {ID: "other", Row: Row{State: sandbox.StateRunning}}}, now, timeout)
			if len(got) != 2 || got[1].ID != "other" || got[1].Action != Preserve {
				t.Fatalf("got %+v", got)
			}
			if got[0].ID != tc.w.ID || got[0].Action != tc.want || !strings.Contains(got[0].Reason, tc.reason) {
				t.Errorf("got %+v", got[0])
			}
			if tc.want == Preserve && got[0].Next != tc.w.Row.State {
				t.Errorf("preserved, but the state becomes %q", got[0].Next)
			}
		})
	}
}

func TestTransitionPastItsDeadlineAlwaysResolves(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	every(func(row Row, m Machine, network bool) {
		if !row.State.Transitional() {
			return
		}
		got := Stuck([]Watched{{ID: "a", Deadline: now, Row: row, Machine: m, Network: network}}, now, time.Minute)[0]
		if row.State == sandbox.StateKilling && row.Reason != "" && got.Reason != row.Reason {
			t.Errorf("the reason %q of an end became %q", row.Reason, got.Reason)
		}
		if got.Action == Preserve || got.Next.Transitional() || got.Next == "" {
			t.Errorf("%+v %+v: got %+v", row, m, got)
		}
	})
}

func TestOneRecordThatHangsHoldsUpNoOtherOfItsClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const atOnce = 4
		plan := make([]Record, 20)
		for i := range plan {
			plan[i] = Record{ID: string(rune('a' + i)), Decision: Decision{Action: Keep}}
		}
		plan = append(plan, Record{ID: "last", Decision: Decision{Action: Kill}})
		var now, most atomic.Int32
		hang, done := make(chan struct{}), make(chan string, len(plan))
		go func() {
			_, _ = Apply(plan, atOnce, func(r Record) error {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if r.ID == "c" {
					<-hang
				}
				time.Sleep(time.Second)
				done <- r.ID
				return nil
			})
			close(done)
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) != 19 || most.Load() != atOnce {
			t.Errorf("%d of 19 are done, %d at a time", len(done), most.Load())
		}
		close(hang)
		var order []string
		for id := range done {
			order = append(order, id)
		}
		if len(order) != 21 || order[19] != "c" || order[20] != "last" {
			t.Errorf("order %v: the next class does not begin before this one has ended", order)
		}
	})
}
