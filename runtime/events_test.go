package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// eventsOf are the events of a sandbox, or of all, in order.
func (f *fixture) eventsOf(id string) []sandbox.Event {
	f.t.Helper()
	all, err := f.db.Events.Page(context.Background(), sandbox.EventFilter{SandboxID: id, Ascending: true, Limit: 1000}, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// kinds are the last parts of the types of events.
func kinds(events []sandbox.Event) (out []string) {
	for _, e := range events {
		out = append(out, string(e.Type[strings.LastIndexByte(string(e.Type), '.')+1:]))
	}
	return out
}

// wantJournal checks that the events of each sandbox are a way to the state that its row has, and that each complete
// snapshot of a client has its event.
func (f *fixture) wantJournal() {
	f.t.Helper()
	state, runs, checkpoints, began := map[string]sandbox.State{}, map[string]string{}, map[string]int{}, map[string]time.Time{}
	wrong := func(e sandbox.Event, after sandbox.State) {
		f.t.Errorf("%s is %s after it was %q: %v", e.SandboxID, e.Type, after, kinds(f.eventsOf(e.SandboxID)))
	}
	for _, e := range f.eventsOf("") {
		was := state[e.SandboxID]
		running, paused := was == sandbox.StateRunning, was == sandbox.StatePaused
		ok, next, begins := false, was, false
		switch e.Type {
		case sandbox.EventCreated:
			ok, next, begins = was == "", sandbox.StateRunning, true
		case sandbox.EventResumed:
			ok, next, begins = paused, sandbox.StateRunning, true
		case sandbox.EventPaused:
			ok, next = running, sandbox.StatePaused
		case sandbox.EventKilled:
			ok, next = running || paused, sandbox.StateKilled
		case sandbox.EventUpdated:
			ok = running
		case sandbox.EventDenied:
			ok = true // It may be written a moment after the end.
		case sandbox.EventCheckpointed:
			ok = running || paused
			var data struct {
				SnapshotID string `json:"snapshot_id"`
			}
			if err := json.Unmarshal(e.Data, &data); err != nil {
				f.t.Error(err)
			}
			checkpoints[data.SnapshotID]++
		}
		if !ok {
			wrong(e, was)
		}
		// In a test without a clock, a sandbox may be resumed at the moment of its create.
		if same := runs[e.SandboxID] == e.ExecutionID; begins == same && !(begins && e.At.Equal(began[e.SandboxID])) {
			f.t.Errorf("%s is %s in execution %s after %q", e.SandboxID, e.Type, e.ExecutionID, runs[e.SandboxID])
		}
		state[e.SandboxID], runs[e.SandboxID] = next, e.ExecutionID
		if begins {
			began[e.SandboxID] = e.At
		}
	}
	rows, err := f.db.Sandboxes.Killed(context.Background(), 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	live, err := f.db.Sandboxes.Live(context.Background(), "test")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, row := range append(rows, live...) {
		want := row.State
		if row.StartedAt.IsZero() {
			want = "" // It never ran.
		}
		if got := state[row.ID]; got != want {
			f.t.Errorf("%s is %s, and by its events %q: %v", row.ID, want, got, kinds(f.eventsOf(row.ID)))
		}
	}
	claims, err := f.db.Snapshots.Claims(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range claims {
		if (c.Kind == claim.KindSnapshot || c.Kind == claim.KindContinuation) && checkpoints[c.ID] != 1 {
			f.t.Errorf("%s %s has %d events", c.Kind, c.ID, checkpoints[c.ID])
		}
	}
	for id, n := range checkpoints {
		if n != 1 {
			f.t.Errorf("snapshot %s has %d events", id, n)
		}
	}
}

func TestEachTransitionIsOneEvent(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	sb := f.create(long, func(r *sandbox.CreateRequest) { r.KeyID = "k1" })
	if err := errors.Join(f.rt.SetTimeout(ctx, sb.ID, 2*time.Hour), f.rt.Extend(ctx, sb.ID, time.Minute), // Which changes nothing.
		f.rt.SetEgress(ctx, sb.ID, nil, sandbox.Egress{Deny: []string{"10.0.0.0/8"}, Headers: map[string]map[string]string{"a.example": {"X": "hunter2"}}})); err != nil {
		t.Fatal(err)
	}
	if _, err := f.rt.Snapshot(ctx, sb.ID, "named", "k2"); err != nil {
		t.Fatal(err)
	}
	children, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour, KeyID: "k3"})
	if err != nil || children[0].Err != nil {
		t.Fatal(err, children)
	}
	f.pause(sb.ID)
	if _, err := f.rt.Capture(ctx, sb.ID, sandbox.ReasonStopped, "k1"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	f.wantJournal()
	events := f.eventsOf(sb.ID)
	if want := []string{"created", "updated", "updated", "checkpointed", "paused", "checkpointed", "resumed", "killed"}; !slices.Equal(kinds(events), want) {
		t.Fatalf("%v, want %v", kinds(events), want)
	}
	if got := kinds(f.eventsOf(children[0].Sandbox.ID)); !slices.Equal(got, []string{"created"}) {
		t.Errorf("a child of a fork: %v", got)
	}
	for i, want := range []string{
		`{"sandbox_metadata":{"who":"me"}}`, `{"set_timeout":"`, `{"set_network":{"allow_internet_access":true,"allow_out":[],"deny_out":["10.0.0.0/8"]}}`,
		`{"name":"named","snapshot_id":"`, ``, `{"reason":"stopped","snapshot_id":"`, ``, `{"reason":"killed by request"}`,
	} {
		e := events[i]
		if !strings.HasPrefix(string(e.Data), want) || want == "" && e.Data != nil {
			t.Errorf("data of %s: %s, want %s", e.Type, e.Data, want)
		}
		if e.KeyID != "k1" || e.TemplateID != sb.TemplateID || e.At.IsZero() {
			t.Errorf("%+v", e)
		}
	}
}

func TestACallThatFailsIsNoEvent(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	sb := f.create(long)
	f.failNext("init", 1)
	if _, err := f.rt.Create(ctx, request()); err == nil {
		t.Fatal("a create whose guest fails succeeded")
	}
	f.failNext("snapshot", 2)
	if err := f.rt.Pause(ctx, sb.ID, true); err == nil {
		t.Fatal("a pause that cannot be saved succeeded")
	}
	if _, err := f.rt.Snapshot(ctx, sb.ID, "", ""); err == nil {
		t.Fatal("a snapshot that cannot be saved succeeded")
	}
	if err := f.rt.SetTimeout(ctx, sb.ID, 1000*time.Hour); err == nil {
		t.Fatal("a timeout that is too long was set")
	}
	if got := kinds(f.eventsOf("")); !slices.Equal(got, []string{"created"}) {
		t.Errorf("%v", got)
	}
	f.pause(sb.ID)
	f.failNext("init", 1)
	if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err == nil {
		t.Fatal("a resume whose guest fails succeeded")
	}
	if got := kinds(f.eventsOf("")); !slices.Equal(got, []string{"created", "paused"}) {
		t.Errorf("%v", got)
	}
	f.wantJournal()
}

// What ends or pauses a sandbox without a call is an event, too, with the reason that the log has.
func TestATimeoutIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		killed := f.create()
		paused := f.create(func(r *sandbox.CreateRequest) { r.OnTimeout = sandbox.OnTimeoutPause })
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if events := f.eventsOf(killed.ID); len(events) != 2 || string(events[1].Data) != `{"reason":"timeout"}` {
			t.Errorf("%v, data %s", kinds(events), events[len(events)-1].Data)
		}
		if got := kinds(f.eventsOf(paused.ID)); !slices.Equal(got, []string{"created", "paused"}) {
			t.Errorf("%v", got)
		}
		f.wantJournal()
	})
}

func TestALostSandboxIsAnEventOfTheNextStart(t *testing.T) {
	f := newFixture(t)
	sb, creating := f.create(long), f.create(long)
	f.changeSandbox(creating.ID, func(row *store.Sandbox) { row.State, row.StartedAt = sandbox.StateCreating, time.Time{} })
	guest(f, sb.ID).Exit("signal: killed")
	f.rt.Close()
	f.open()
	events := f.eventsOf(sb.ID)
	if len(events) != 2 || events[1].Type != sandbox.EventKilled || !strings.HasPrefix(string(events[1].Data), `{"reason":"lost: `) {
		t.Errorf("%v", events)
	}
}

func TestWhatASandboxIsRefusedIsAnEvent(t *testing.T) {
	f := newFixture(t)
	sb := f.create(long)
	f.network.refuse(f.row(sb.ID).SlotID, sandbox.Refusal{Proto: "tcp", Address: "1.1.1.1", Port: 25, Count: 4, Last: time.Now()})
	for range 2 {
		f.rt.LookForDenied(t.Context())
	}
	events := f.eventsOf(sb.ID)
	if len(events) != 2 || events[1].Type != sandbox.EventDenied || string(events[1].Data) != `{"protocol":"tcp","address":"1.1.1.1","port":25,"count":4,"destinations":1}` || events[1].ExecutionID != events[0].ExecutionID {
		t.Errorf("%+v", events)
	}
	f.wantJournal()
}

// What a reader of the journal gets, one after the other, is all of it, each once.
func TestAReaderGetsEachEventOnce(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	_, from, err := f.rt.EventPosition(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	const sandboxes = 5
	got, failed := make(chan string, 100), make(chan error, 1)
	reading, stop := context.WithCancel(ctx)
	go func() {
		for position := from; ; {
			events, err := f.rt.AwaitEvents(reading, sandbox.EventFilter{Limit: 3, Types: []sandbox.EventType{sandbox.EventCreated, sandbox.EventKilled}}, position)
			if err != nil {
				failed <- err
				return
			}
			for _, e := range events {
				got <- fmt.Sprint(e.SandboxID, " ", kinds([]sandbox.Event{e})[0])
				position = e.Position
			}
		}
	}()
	var want []string
	for range sandboxes {
		sb := f.create(long)
		if err := errors.Join(f.rt.SetTimeout(ctx, sb.ID, time.Hour), f.rt.Kill(ctx, sb.ID)); err != nil {
			t.Fatal(err)
		}
		want = append(want, sb.ID+" created", sb.ID+" killed")
	}
	for _, w := range want {
		select {
		case g := <-got:
			if g != w {
				t.Errorf("%s, want %s", g, w)
			}
		case err := <-failed:
			t.Fatal(err)
		}
	}
	stop()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	if len(got) > 0 {
		t.Errorf("and %s", <-got)
	}
	f.rt.Close()
	f.crashed = f.rt
	if _, err := f.rt.AwaitEvents(ctx, sandbox.EventFilter{Limit: 1, SandboxID: "none"}, 0); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAnEphemeralRuntimeHasNoEvents(t *testing.T) {
	f := newFixture(t)
	f.cfg.Ephemeral = true
	f.restart()
	sb := f.create()
	if err := f.rt.Kill(t.Context(), sb.ID); err != nil {
		t.Fatal(err)
	}
	if got := f.eventsOf(""); len(got) > 0 {
		t.Errorf("%v", got)
	}
}
