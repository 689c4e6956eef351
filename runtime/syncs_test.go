package runtime

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
)

// Whatever comes between, a sync goes on where there is a machine.
func TestASyncOutlivesWhatComesBetween(t *testing.T) {
	w := newForge(t)
	w.repository()
	for name, between := range map[string]func(id string){
		"a restart":           func(string) { w.restart() },
		"a pause":             func(id string) { w.pause(id); w.resume(id) },
		"a pause and a start": func(id string) { w.pause(id); w.restart(); w.resume(id) },
		"a boot": func(id string) {
			if err := w.rt.Pause(t.Context(), id, false); err != nil {
				t.Fatal(err)
			}
			w.resume(id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			release := w.holdGit()
			sb := w.fromApp()
			w.waits(sb.ID)
			w.commands()
			between(sb.ID)
			w.wantPhase(sb.ID, freshness.Syncing)
			release()
			if got := w.decided(sb.ID); got.Phase != freshness.Ready {
				t.Errorf("%+v", got)
			}
			if got := w.commands(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "index.lock") }) || !slices.Contains(got, "git reset --hard refs/remotes/origin/main --") {
				t.Errorf("it ran %q", got)
			}
			if err := w.rt.Kill(t.Context(), sb.ID); err != nil {
				t.Error(err)
			}
		})
	}
	// What is saved in the middle of a sync begins again, in each copy.
	release := w.holdGit()
	sb := w.fromApp()
	w.waits(sb.ID)
	snap, err := w.rt.Snapshot(t.Context(), sb.ID, "mid", "k1")
	if err != nil {
		t.Fatal(err)
	}
	children, err := w.rt.Fork(t.Context(), sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
	if err != nil || children[0].Err != nil {
		t.Fatal(err, children)
	}
	// A template has no gate, so that what is saved in the middle of a sync is not the beginning of one.
	if b, log := w.await(w.begin("of-mid", sandbox.Recipe{FromTemplate: snap.ID})); b.State != sandbox.BuildFailed || !strings.Contains(log, "not up to date") {
		t.Errorf("a template of it: %+v, %s", b, log)
	}
	copies := []string{sb.ID, children[0].Sandbox.ID, w.create(long, func(r *sandbox.CreateRequest) { r.Template = snap.ID }).ID}
	for _, id := range copies {
		w.wantPhase(id, freshness.Syncing)
	}
	release()
	for _, id := range copies {
		if got := w.decided(id); got.Phase != freshness.Ready || got.User != "ann" {
			t.Errorf("%+v", got)
		}
	}
	// A copy of what is up to date may have other work.
	w.commands()
	later, err := w.rt.Snapshot(t.Context(), sb.ID, "later", "k1")
	if err != nil {
		t.Fatal(err)
	}
	children, err = w.rt.Fork(t.Context(), sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Hour})
	if err != nil || children[0].Err != nil {
		t.Fatal(err, children)
	}
	for _, got := range []sandbox.Sandbox{children[0].Sandbox, w.create(long, func(r *sandbox.CreateRequest) { r.Template = later.ID })} {
		if !got.Freshness.Empty() {
			t.Errorf("%+v", got.Freshness)
		}
	}
	if got := w.commands(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "git") }) {
		t.Errorf("copies were reset by %q", got)
	}
	if err := errors.Join(w.rt.DeleteSnapshot(t.Context(), "mid"), w.rt.DeleteSnapshot(t.Context(), "later")); err != nil {
		t.Error(err)
	}
}

// A git that was killed leaves locks, which are in the snapshot of its sandbox, too.
func TestASyncOfACopyBeginsWithWhatAFailedOneLeft(t *testing.T) {
	w := newForge(t)
	w.repository()
	w.setFails(true)
	sb := w.fromApp()
	if got := w.decided(sb.ID); got.Phase != freshness.Failed {
		t.Fatalf("%+v", got)
	}
	snap, err := w.rt.Snapshot(t.Context(), sb.ID, "", "k1")
	if err != nil {
		t.Fatal(err)
	}
	w.setFails(false)
	w.commands()
	again := w.create(long, func(r *sandbox.CreateRequest) {
		r.Template = snap.ID
		r.Metadata = map[string]string{freshness.KeyBranch: "main", freshness.KeyTarget: "origin/main", freshness.KeyCheckout: "/srv/app"}
	})
	if got := w.decided(again.ID); got.Phase != freshness.Ready {
		t.Errorf("%+v", got)
	}
	if got := w.commands(); !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "index.lock") }) {
		t.Errorf("it ran %q", got)
	}
}

func TestAConnectionThatBreaksIsNotTheEndOfASync(t *testing.T) {
	w := newForge(t)
	w.repository()
	w.mu.Lock()
	w.breaks = 2
	w.mu.Unlock()
	if got := w.decided(w.fromApp().ID); got.Phase != freshness.Ready {
		t.Errorf("after two: %+v", got)
	}
	w.mu.Lock()
	w.breaks = 100
	w.mu.Unlock()
	if got := w.decided(w.fromApp().ID); got.Phase != freshness.Failed || !strings.Contains(got.Reason, "git fetch") {
		t.Errorf("after all: %+v", got)
	}
}

// A git that hangs, and does not even end when it is killed, holds up neither a kill nor the gate for ever.
func TestAGitThatHangsIsBounded(t *testing.T) {
	w := newForge(t)
	w.repository()
	release := w.holdGit()
	defer release()
	sb := w.fromApp()
	w.waits(sb.ID)
	soon, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errInjected)
	defer cancel()
	if err := w.rt.AwaitSync(soon, sb.ID); !errors.Is(err, errInjected) {
		t.Errorf("a wait ends with %v", err)
	}
	awaited := make(chan error, 1)
	go func() { awaited <- w.rt.AwaitSync(t.Context(), sb.ID) }()
	if err := w.rt.Kill(t.Context(), sb.ID); err != nil {
		t.Error(err)
	}
	if err := <-awaited; err != nil && !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("a wait for a sandbox that was killed ends with %v", err)
	}
	w.cfg.SyncTimeout = 50 * time.Millisecond
	w.restart()
	sb = w.fromApp()
	if got := w.decided(sb.ID); got.Phase != freshness.Failed || !strings.Contains(got.Reason, "more than 50ms") {
		t.Errorf("%+v", got)
	}
	w.cfg.SyncTimeout = 0
	w.restart()
	byHand := w.fromApp()
	w.waits(byHand.ID)
	if err := w.rt.CompleteSync(t.Context(), byHand.ID); err != nil {
		t.Fatal(err)
	}
	w.wantPhase(byHand.ID, freshness.Ready)
	byHand = w.fromApp()
	if err := w.rt.FailSync(t.Context(), byHand.ID, "not today"); err != nil {
		t.Fatal(err)
	}
	if got := w.gate(byHand.ID); got.Phase != freshness.Failed || got.Reason != "not today" {
		t.Errorf("%+v", got)
	}
}

// A crash at any step of a sync loses no gate: it opens after a sync that was done to its end.
func TestACrashAtAnyStepOfASyncOpensNoGate(t *testing.T) {
	for _, death := range step.Syncs() {
		t.Run(string(death), func(t *testing.T) {
			w := newForge(t)
			w.repository()
			reached := make(chan struct{})
			var once sync.Once
			w.failpoint(func(at step.Step) error {
				if at == death {
					once.Do(func() { close(reached) })
					select {} // the process is dead
				}
				return nil
			})
			sb := w.fromApp()
			<-reached
			w.failpoint(nil)
			if death != step.SyncOutcome {
				w.wantPhase(sb.ID, freshness.Syncing)
			}
			w.crashed = w.rt
			w.rt.background.Stop()
			w.commands()
			w.open()
			if got := w.decided(sb.ID); got.Phase != freshness.Ready {
				t.Errorf("%+v", got)
			}
			if got := slices.Contains(w.commands(), "git reset --hard refs/remotes/origin/main --"); got != (death != step.SyncOutcome) {
				t.Errorf("it was done again: %v", got)
			}
		})
	}
}

func TestAnOutcomeThatCannotBeWrittenOpensNoGate(t *testing.T) {
	w := newForge(t)
	w.repository()
	w.failpoint(func(at step.Step) error {
		if at == step.SyncDone {
			return errInjected
		}
		return nil
	})
	sb := w.fromApp()
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := w.rt.AwaitSync(soon, sb.ID); err == nil {
		t.Errorf("the gate is %+v", w.gate(sb.ID))
	}
	w.failpoint(nil)
	if err := w.rt.CompleteSync(t.Context(), sb.ID); err != nil {
		t.Error(err)
	}
	w.wantPhase(sb.ID, freshness.Ready)
}
