package freshness

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var asked = Request{Branch: "main", Target: "origin/main"}

func TestGateBeginsClosedOnlyIfASyncWasAskedFor(t *testing.T) {
	if g := NewGate(Request{}); g.Phase != Ready {
		t.Errorf("got %+v", g)
	}
	if g := NewGate(asked); g.Phase != Restored {
		t.Errorf("got %+v", g)
	}
}

func TestGateTransitions(t *testing.T) {
	begin := func(g Gate) (Gate, error) { return g.Begin() }
	complete := func(g Gate) (Gate, error) { return g.Complete() }
	fail := func(g Gate) (Gate, error) { return g.Fail("because") }
	for _, tc := range []struct {
		from Phase
		name string
		move func(Gate) (Gate, error)
		to   Phase // "" is refused
	}{
		{Restored, "begin", begin, Syncing},
		{Restored, "complete by hand", complete, Ready},
		{Restored, "fail by hand", fail, Failed},
		{Syncing, "begin", begin, ""},
		{Syncing, "complete", complete, Ready},
		{Syncing, "fail", fail, Failed},
		{Ready, "begin", begin, ""},
		{Ready, "complete", complete, ""},
		{Ready, "fail", fail, ""},
		{Failed, "try again", begin, Syncing},
		{Failed, "complete by hand", complete, Ready},
		{Failed, "fail", fail, ""},
		{"", "begin", begin, ""},
		{"", "complete", complete, ""},
	} {
		before := Gate{Phase: tc.from}
		if tc.from == Failed {
			before.Reason = "first"
		}
		after, err := tc.move(before)
		if tc.to == "" {
			if !errors.Is(err, ErrPhase) || after != before {
				t.Errorf("%s from %q: got %+v, %v", tc.name, tc.from, after, err)
			}
			continue
		}
		if err != nil || after.Phase != tc.to || (after.Reason != "") != (tc.to == Failed) {
			t.Errorf("%s from %q: got %+v, %v", tc.name, tc.from, after, err)
		}
	}
}

func TestFailureHasABoundedReasonThatIsStored(t *testing.T) {
	g, err := Gate{Phase: Syncing}.Fail(strings.Repeat("x", 1<<20))
	if err != nil || len(g.Reason) != maxReason {
		t.Errorf("%d bytes, %v", len(g.Reason), err)
	}
	if g, _ = (Gate{Phase: Syncing}).Fail("\xff" + strings.Repeat("é", maxReason)); len(g.Reason) > maxReason {
		t.Errorf("%d bytes", len(g.Reason))
	}
	for _, nothing := range []string{"", "\n", "\x1b\x07"} {
		if g, _ := (Gate{Phase: Syncing}).Fail(nothing); g.Reason == "" {
			t.Errorf("%q: failed without a reason", nothing)
		}
	}
	// What a guest says goes to the terminals of clients.
	if g, _ := (Gate{Phase: Syncing}).Fail("git\x1b]52;c;cm0=\x07 fetch:\r\nexit\u009b2J\u202e\tstatus"); g.Reason != "git]52;c;cm0= fetch:  exit2J status" {
		t.Errorf("%q", g.Reason)
	}
	data, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back Gate
	if err := json.Unmarshal(data, &back); err != nil || back != g {
		t.Errorf("got %+v, %v", back, err)
	}
}
