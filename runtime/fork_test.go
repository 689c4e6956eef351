package runtime

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func TestForkMakesChildrenWithTheMemoryAndWithoutTheIdentityOfTheirParent(t *testing.T) {
	f := newFixture(t)
	no := false
	parent := f.create(func(r *sandbox.CreateRequest) {
		r.AllowPublicTraffic, r.AllowInternet, r.OnTimeout = &no, &no, sandbox.OnTimeoutPause
	})
	f.inside(parent.ID).Set("mark", "here")
	results, err := f.rt.Fork(context.Background(), parent.ID, sandbox.ForkRequest{Count: 3, Timeout: time.Hour, KeyID: "k"})
	if err != nil || len(results) != 3 {
		t.Fatalf("%+v, %v", results, err)
	}
	seen := map[string]bool{parent.ID: true, parent.EnvdAccessToken: true, parent.TrafficAccessToken: true,
		f.initOf(parent.ID).BootID: true, string(f.initOf(parent.ID).RandomSeed): true, f.row(parent.ID).SlotID: true}
	for _, child := range results {
		sb := child.Sandbox
		if child.Err != nil {
			t.Fatal(child.Err)
		}
		init := f.initOf(sb.ID)
		for _, own := range []string{sb.ID, sb.EnvdAccessToken, sb.TrafficAccessToken, init.BootID, string(init.RandomSeed), f.row(sb.ID).SlotID} {
			if own == "" || seen[own] {
				t.Errorf("child shares %q", own)
			}
			seen[own] = true
		}
		if !init.Restored || init.Hostname != sb.ID || init.SandboxID != sb.ID {
			t.Errorf("init %+v", init)
		}
		if f.inside(sb.ID).Get("mark") != "here" {
			t.Error("the child has not its parent's memory")
		}
		if sb.OnTimeout != sandbox.OnTimeoutPause || sb.AllowInternet == nil || *sb.AllowInternet || sb.KeyID != "k" || sb.Metadata["who"] != "me" {
			t.Errorf("child %+v", sb)
		}
		if f.network.internet(f.row(sb.ID).SlotID) {
			t.Error("the child reaches the internet and its parent does not")
		}
	}
	if got := f.rt.admission.Ledger.Active().Sandboxes; got != 4 {
		t.Errorf("capacity for %d", got)
	}
	if n := countSnapshots(f); n != 1 {
		t.Errorf("%d snapshots after the fork, want the base's", n)
	}
	f.inside(parent.ID).Set("mark", "changed")
	if f.inside(results[0].Sandbox.ID).Get("mark") != "here" {
		t.Error("parent and child share memory")
	}
}

func TestOfAForkWhoseChildrenFailTheOthersAreThere(t *testing.T) {
	f := newFixture(t)
	parent := f.create()
	f.failNext("create", 2)
	results, err := f.rt.Fork(context.Background(), parent.ID, sandbox.ForkRequest{Count: 5, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	made, failed := 0, 0
	for _, r := range results {
		switch {
		case r.Err == nil && r.Sandbox.State == sandbox.StateRunning:
			made++
		case errors.Is(r.Err, errInjected):
			failed++
		}
	}
	if made != 3 || failed != 2 {
		t.Errorf("%d made, %d failed", made, failed)
	}
	if got := f.rt.admission.Ledger.Active().Sandboxes; got != 4 {
		t.Errorf("capacity for %d", got)
	}
}

func TestForkRefuses(t *testing.T) {
	f := newFixture(t)
	parent := f.create()
	paused := f.create()
	for name, c := range map[string]struct {
		id   string
		req  sandbox.ForkRequest
		want error
	}{
		"none":     {parent.ID, sandbox.ForkRequest{Count: 0, Timeout: time.Minute}, sandbox.ErrInvalid},
		"too many": {parent.ID, sandbox.ForkRequest{Count: 101, Timeout: time.Minute}, sandbox.ErrInvalid},
		"no time":  {parent.ID, sandbox.ForkRequest{Count: 1}, sandbox.ErrInvalid},
		"unknown":  {"inobody", sandbox.ForkRequest{Count: 1, Timeout: time.Minute}, sandbox.ErrNotFound},
	} {
		if _, err := f.rt.Fork(context.Background(), c.id, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.pause(paused.ID)
	if results, err := f.rt.Fork(context.Background(), paused.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Minute}); err != nil || results[0].Err != nil {
		t.Errorf("a paused sandbox forks from what it is saved in: %+v, %v", results, err)
	}
	if n := countSnapshots(f); n != 2 {
		t.Errorf("%d snapshots, want the base's and the paused one's", n)
	}
	f.resume(paused.ID)
}
