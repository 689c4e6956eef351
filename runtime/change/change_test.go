package change

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

var (
	errInjected = errors.New("injected")
	none        = sandbox.Egress{Deny: []string{"0.0.0.0/0"}}
)

// world is a table with one row and a network with one slot. Each can fail once.
type world struct {
	machine.Network
	row             store.Sandbox
	slot            egress.Policy
	did             []string
	failRow, failIn bool
	leave           func() // Called when the row is to be written.
	failTrust       bool
	ending          func() // Called while the slot is asked for what it knows, which then fails.
}

func (w *world) Get(context.Context, string) (store.Sandbox, error) { return w.row, nil }

func (w *world) Put(_ context.Context, row *store.Sandbox, _ ...sandbox.Event) error {
	w.did = append(w.did, "row")
	if w.leave != nil {
		w.leave()
	}
	if w.failRow {
		w.failRow = false
		return errInjected
	}
	row.Version++
	w.row = *row
	return nil
}

func (w *world) SetEgress(ctx context.Context, _ string, p egress.Policy) error {
	w.did = append(w.did, "slot")
	if w.failIn || ctx.Err() != nil {
		w.failIn = false
		return errors.Join(errInjected, ctx.Err())
	}
	w.slot = p
	return nil
}

func (w *world) CheckProxy(ctx context.Context, p egress.Policy) error {
	if p.Proxy.Host == "inside.example" {
		return fmt.Errorf("%w: inside", sandbox.ErrInvalid)
	}
	return ctx.Err()
}

// changer has one sandbox, "i1", in a state.
func changer(t *testing.T, state sandbox.State) (*Changer, *world, *live.Sandbox) {
	t.Helper()
	w := &world{row: store.Sandbox{ID: "i1", State: state, SlotID: "s", EndAt: time.Now().Add(time.Hour), Version: 1}, slot: egress.Everything}
	sb := live.New(w.row)
	set := live.NewSet()
	set.Know(sb, nil)
	t.Cleanup(sb.Disarm)
	return New(Config{
		Live: set, Network: w,
		Rows: &rows.Writer{Store: rows.Store{Sandboxes: w}, Log: slog.New(slog.DiscardHandler), Here: func(store.Sandbox) error { return nil }},
		CheckTimeout: func(d time.Duration) error {
			if d > 10*time.Hour {
				return sandbox.ErrInvalid
			}
			return nil
		},
		Expire: func(*live.Sandbox) {},
		Trust: func(context.Context, string, egress.Policy) error {
			w.did = append(w.did, "guest")
			if w.failTrust {
				w.failTrust = false
				return errInjected
			}
			return nil
		},
	}), w, sb
}

func TestRulesAreInForceBeforeTheyAreWrittenDown(t *testing.T) {
	c, w, sb := changer(t, sandbox.StateRunning)
	if err := c.SetEgress(t.Context(), "i1", nil, none); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.did, []string{"guest", "slot", "row"}) || !w.slot.None() || len(w.row.Egress.Deny) != 1 || len(sb.Row().Egress.Deny) != 1 {
		t.Errorf("did %v: %v, %v", w.did, w.slot, w.row.Egress)
	}
}

func TestWhatFailsChangesNothing(t *testing.T) {
	for name, fail := range map[string]func(*world){
		"the guest":   func(w *world) { w.failTrust = true },
		"the network": func(w *world) { w.failIn = true },
		"the store":   func(w *world) { w.failRow = true },
	} {
		c, w, sb := changer(t, sandbox.StateRunning)
		fail(w)
		if err := c.SetEgress(t.Context(), "i1", nil, none); !errors.Is(err, errInjected) {
			t.Errorf("%s: %v", name, err)
		}
		if !w.slot.Equal(egress.Everything) || !w.row.Egress.Empty() || !sb.Row().Egress.Empty() {
			t.Errorf("%s: %v, %v", name, w.slot, w.row.Egress)
		}
	}
}

// A client that goes away does not keep rules in force that are not written down.
func TestAChangeIsUndoneWithoutItsClient(t *testing.T) {
	c, w, _ := changer(t, sandbox.StateRunning)
	ctx, leave := context.WithCancel(t.Context())
	w.failRow, w.leave = true, leave
	if err := c.SetEgress(ctx, "i1", nil, none); !errors.Is(err, errInjected) || !w.slot.Equal(egress.Everything) {
		t.Errorf("%v, and it reaches %v", err, w.slot)
	}
}

func TestAProxyIsCheckedBeforeAnythingChanges(t *testing.T) {
	c, w, _ := changer(t, sandbox.StateRunning)
	for host, want := range map[string]error{"inside.example": sandbox.ErrInvalid, "proxy.example": nil} {
		err := c.SetEgress(t.Context(), "i1", nil, sandbox.Egress{Proxy: &sandbox.Proxy{Address: host + ":1080"}})
		if !errors.Is(err, want) || (want != nil) != (len(w.did) == 0) {
			t.Errorf("%s: %v, did %v", host, err, w.did)
		}
		w.did = nil
	}
	if w.slot.Proxy.Host != "proxy.example" {
		t.Errorf("%v", w.slot.Proxy)
	}
}

func TestOnlyARunningSandboxIsChanged(t *testing.T) {
	for state, want := range map[sandbox.State]error{sandbox.StatePaused: sandbox.ErrConflict, sandbox.StateKilled: sandbox.ErrNotFound} {
		c, w, _ := changer(t, state)
		for name, err := range map[string]error{
			"rules": c.SetEgress(t.Context(), "i1", nil, none), "timeout": c.SetTimeout(t.Context(), "i1", time.Hour), "longer": c.Extend(t.Context(), "i1", 2*time.Hour),
		} {
			if !errors.Is(err, want) {
				t.Errorf("%s of one that is %s: %v", name, state, err)
			}
		}
		if len(w.did) > 0 {
			t.Errorf("%s: did %v", state, w.did)
		}
	}
}

func (w *world) Refused(slotID string, _ time.Time) ([]sandbox.Refusal, error) {
	return []sandbox.Refusal{{Proto: "tcp", Address: slotID}}, nil
}

func (w *world) Traffic(slotID string) (sandbox.Traffic, error) {
	if w.ending != nil {
		w.ending()
		return sandbox.Traffic{BytesOut: 1}, errInjected
	}
	return sandbox.Traffic{BytesOut: uint64(len(slotID))}, nil
}

func TestWhatIsRefusedIsOfTheSlotThatASandboxHas(t *testing.T) {
	for state, want := range map[sandbox.State]int{sandbox.StateRunning: 1, sandbox.StatePaused: 0} {
		c, _, _ := changer(t, state)
		if got, err := c.Refused(t.Context(), "i1"); err != nil || len(got) != want || want == 1 && got[0].Address != "s" {
			t.Errorf("%s: %v, %v", state, got, err)
		}
		if got, err := c.Traffic(t.Context(), "i1"); err != nil || got.BytesOut != uint64(want) {
			t.Errorf("%s: %v, %v", state, got, err)
		}
	}
	for _, state := range []sandbox.State{sandbox.StateKilling, sandbox.StateKilled} {
		c, _, _ := changer(t, state)
		if _, err := c.Refused(t.Context(), "i1"); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("of one that is %s: %v", state, err)
		}
		if _, err := c.Traffic(t.Context(), "i1"); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("traffic of one that is %s: %v", state, err)
		}
	}
}

// A sandbox may be paused while its slot is asked.
func TestASlotThatGoesWhileItIsAskedKnowsNothing(t *testing.T) {
	for _, state := range []sandbox.State{sandbox.StateRunning, sandbox.StatePausing} {
		c, w, sb := changer(t, sandbox.StateRunning)
		w.ending = func() { sb.Update(func(row *store.Sandbox) { row.State = state }) }
		got, err := c.Traffic(t.Context(), "i1")
		if fails := state == sandbox.StateRunning; fails != errors.Is(err, errInjected) || !fails && got.BytesOut != 0 {
			t.Errorf("%s: %v, %v", state, got, err)
		}
	}
}

// It may also be resumed meanwhile, with another slot.
func TestAnotherSlotIsNotAFailure(t *testing.T) {
	c, w, sb := changer(t, sandbox.StateRunning)
	w.ending = func() { sb.Update(func(row *store.Sandbox) { row.SlotID = "another" }) }
	if got, err := c.Traffic(t.Context(), "i1"); err != nil || got.BytesOut != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestExtendNeverShortens(t *testing.T) {
	c, w, sb := changer(t, sandbox.StateRunning)
	end := w.row.EndAt
	if err := c.Extend(t.Context(), "i1", time.Minute); err != nil || !w.row.EndAt.Equal(end) {
		t.Errorf("%v, ends %v", err, w.row.EndAt)
	}
	if err := c.Extend(t.Context(), "i1", 2*time.Hour); err != nil || !w.row.EndAt.After(end) {
		t.Errorf("%v, ends %v", err, w.row.EndAt)
	}
	w.row.StartedAt = w.row.EndAt.Add(-2 * time.Hour)
	sb.Update(func(row *store.Sandbox) { row.StartedAt = w.row.StartedAt })
	now := w.row.EndAt
	if err := c.ExtendResumed(t.Context(), "i1", 2*time.Hour, true); err != nil || !w.row.EndAt.Equal(now) {
		t.Errorf("what a resume has set already: %v, ends %v", err, w.row.EndAt)
	}
	for resumed, timeout := range map[bool]time.Duration{true: 3 * time.Hour, false: 4 * time.Hour} {
		if err := c.ExtendResumed(t.Context(), "i1", timeout, resumed); err != nil || time.Until(w.row.EndAt) < timeout-time.Minute {
			t.Errorf("another one has resumed it, %v: %v, ends %v", resumed, err, w.row.EndAt)
		}
	}
	if err := c.SetTimeout(t.Context(), "i1", time.Minute); err != nil || !w.row.EndAt.Before(end) {
		t.Errorf("%v, ends %v", err, w.row.EndAt)
	}
	if err := c.SetTimeout(t.Context(), "i1", 11*time.Hour); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("too long: %v", err)
	}
}
