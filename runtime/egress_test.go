package runtime

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

var (
	oneOnly = sandbox.Egress{Allow: []string{"1.1.1.1"}, Deny: []string{"0.0.0.0/0"}}
	byName  = sandbox.Egress{Allow: []string{"a.example", "1.1.1.1", "bundle:pypi"}, Deny: []string{"0.0.0.0/0"}}
	twoOnly = sandbox.Egress{Allow: []string{"2.2.2.2"}, Deny: []string{"0.0.0.0/0"}}
)

// reaches wants a policy at the slot of a sandbox, and its rules in its description.
func (f *fixture) reaches(when, id string, internet *bool, rules sandbox.Egress) {
	f.t.Helper()
	if got, want := f.network.egress(f.row(id).SlotID), egress.Of(internet, rules); !got.Equal(want) {
		f.t.Errorf("%s it reaches %v, want %v", when, got, want)
	}
	sb, err := f.rt.Get(context.Background(), id)
	if err != nil || fmt.Sprint(sb.Egress) != fmt.Sprint(rules) || (sb.AllowInternet == nil) != (internet == nil) {
		f.t.Errorf("%s it says %v, %v, %v", when, sb.Egress, sb.AllowInternet, err)
	}
}

func TestTheRulesOfASandboxFollowItThroughItsLife(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = oneOnly })
	f.reaches("created,", sb.ID, nil, oneOnly)
	if err := f.rt.SetEgress(ctx, sb.ID, nil, twoOnly); err != nil {
		t.Fatal(err)
	}
	f.reaches("changed,", sb.ID, nil, twoOnly)
	f.pause(sb.ID)
	if err := f.rt.SetEgress(ctx, sb.ID, nil, oneOnly); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("a change of one that is paused: %v", err)
	}
	f.resume(sb.ID)
	f.reaches("resumed,", sb.ID, nil, twoOnly)
	f.restart()
	f.reaches("after a restart", sb.ID, nil, twoOnly)
	children, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
	if err != nil || children[0].Err != nil {
		t.Fatal(err, children)
	}
	f.reaches("forked,", children[0].Sandbox.ID, nil, twoOnly)
	if err := f.rt.SetEgress(ctx, sb.ID, nil, byName); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.reaches("by name after a restart", sb.ID, nil, byName)
	f.pause(sb.ID)
	f.resume(sb.ID)
	f.reaches("by name, resumed,", sb.ID, nil, byName)
	no := false
	if err := f.rt.SetEgress(ctx, sb.ID, &no, sandbox.Egress{}); err != nil {
		t.Fatal(err)
	}
	f.reaches("without internet", sb.ID, &no, sandbox.Egress{})
	if err := f.rt.SetEgress(ctx, sb.ID, nil, sandbox.Egress{}); err != nil {
		t.Fatal(err)
	}
	f.reaches("cleared,", sb.ID, nil, sandbox.Egress{})
	if err := f.rt.Kill(ctx, sb.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.rt.SetEgress(ctx, sb.ID, nil, oneOnly); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("a change of one that is gone: %v", err)
	}
}

func TestAWarmMachineGetsTheRules(t *testing.T) {
	warmed(t, pool.Target{Ready: 1, Prepared: 1}, func(t *testing.T, f *fixture) {
		for _, stage := range []string{"ready", "prepared"} {
			f.refill(false)
			f.forgetHistory()
			sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = oneOnly })
			f.reaches(stage+",", sb.ID, nil, oneOnly)
			if h := f.history(); len(h) == 0 || h[0] != "set egress" {
				t.Errorf("%s: did %v, want the rules first", stage, h)
			}
		}
	})
}

func TestBadRulesMakeNoSandboxAndChangeNone(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = oneOnly })
	for _, rules := range []sandbox.Egress{
		{Deny: []string{"example.com"}},
		{Allow: []string{"bundle:nothing"}, Deny: []string{"0.0.0.0/0"}},
		{Allow: []string{"example.com"}, Deny: []string{"10.0.0.0/8"}},
	} {
		if err := f.rt.SetEgress(ctx, sb.ID, nil, rules); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%v: %v", rules, err)
		}
		req := sandbox.CreateRequest{Template: "base", Timeout: time.Hour, Egress: rules}
		if _, err := f.rt.Create(ctx, req); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("create with %v: %v", rules, err)
		}
	}
	f.reaches("after refusals", sb.ID, nil, oneOnly)
}

// What cannot be put in force or cannot be written down is not half done.
func TestAChangeOfRulesIsWholeOrNone(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = oneOnly })
	f.failNext("set egress", 1)
	if err := f.rt.SetEgress(ctx, sb.ID, nil, twoOnly); err == nil {
		t.Error("the network's failure is not reported")
	}
	f.reaches("after a failure of the network", sb.ID, nil, oneOnly)
	f.changeSandbox(sb.ID, func(*store.Sandbox) {}) // Another program: the row is not what was read.
	if err := f.rt.SetEgress(ctx, sb.ID, nil, twoOnly); err == nil {
		t.Error("the store's failure is not reported")
	}
	f.reaches("after a failure of the store", sb.ID, nil, oneOnly)
}

// A process that ends between the two leaves the policy that nothing has acknowledged.
func TestAChangeThatWasBrokenOffIsUndoneByTheNextStart(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = oneOnly })
	if err := f.network.SetEgress(ctx, f.row(sb.ID).SlotID, egress.Everything); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.reaches("after the start", sb.ID, nil, oneOnly)
}

// So does one whose pause is undone by the start.
func TestAPauseThatIsUndoneKeepsTheRules(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create(hours, func(r *sandbox.CreateRequest) { r.Egress = oneOnly })
	if err := f.network.SetEgress(ctx, f.row(sb.ID).SlotID, egress.Everything); err != nil {
		t.Fatal(err)
	}
	f.changeSandbox(sb.ID, func(row *store.Sandbox) { row.State = sandbox.StatePausing })
	f.restart()
	f.reaches("after the start", sb.ID, nil, oneOnly)
	if state := f.row(sb.ID).State; state != sandbox.StateRunning {
		t.Errorf("it is %s", state)
	}
}
