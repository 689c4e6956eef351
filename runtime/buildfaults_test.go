package runtime

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// A build that fails at any call leaves nothing, also when the machine cannot be freed at once.
func TestABuildThatFailsAtAnyCallLeavesNothing(t *testing.T) {
	for _, call := range []string{"acquire", "create", "init", "snapshot", "inspect", "destroy", "release"} {
		t.Run(call, func(t *testing.T) {
			w := newWorkshop(t)
			if err := w.rt.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.failNext(call, 1)
			b, log := w.await(w.begin("mine", fromBase(step1("RUN", "one"), step1("RUN", "two"))))
			freed := call == "destroy" || call == "release" // They come after the outcome.
			if (b.State == sandbox.BuildReady) != freed {
				t.Errorf("the build is %s\n%s", b.State, log)
			}
			if freed {
				if err := w.rt.DeleteTemplate(t.Context(), "mine"); err != nil {
					t.Fatal(err)
				}
			}
			w.wantOnlyBaseAndLayers()
		})
	}
}

// A driver that hangs holds up no other build of the template.
func TestABuildWhoseDriverHangsIsReplaced(t *testing.T) {
	for _, call := range []string{"create", "snapshot"} {
		t.Run(call, func(t *testing.T) {
			w := newWorkshop(t)
			if err := w.rt.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			hung, let := make(chan struct{}, 1), make(chan struct{})
			w.hang = func(op, id string) <-chan struct{} {
				if op != call || !strings.HasPrefix(id, "bld-") {
					return nil
				}
				select {
				case hung <- struct{}{}:
					return let
				default:
					return nil
				}
			}
			w.restart()
			first := w.begin("mine", fromBase(step1("RUN", "one")))
			<-hung
			hung <- struct{}{} // No other one hangs.
			second := w.build("mine", fromBase(step1("RUN", "two")))
			if got, _ := w.await(first); got.State != sandbox.BuildFailed {
				t.Errorf("the first is %s", got.State)
			}
			close(let)
			if err := w.rt.DeleteTemplate(t.Context(), second.TemplateID); err != nil {
				t.Fatal(err)
			}
			w.wantOnlyBaseAndLayers()
		})
	}
}

// A layer that cannot be restored is made anew.
func TestADamagedLayerIsMadeAnew(t *testing.T) {
	w := newWorkshop(t)
	recipe := fromBase(step1("RUN", "one"), step1("RUN", "two"))
	w.build("mine", recipe)
	layers, err := w.db.Snapshots.Page(t.Context(), store.Page{Kind: "layer"})
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	row, err := w.db.Snapshots.Get(t.Context(), layers[0].ID)
	if err == nil {
		err = w.driver.DeleteSnapshot(t.Context(), row.VMID, row.Snapshot)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.commands()
	w.build("other", recipe)
	if got := strings.Join(w.commands(), ","); got != "two" {
		t.Errorf("it ran %q, want two", got)
	}
}

// TestACrashAtAnyStepOfABuildLosesNothing ends the process at every step of a build, as TestACrashAtAnyStepLosesNothingAndLeaksNothing
// does: the next process says why the build ended, keeps what is ready, and builds again from the last layer.
func TestACrashAtAnyStepOfABuildLosesNothing(t *testing.T) {
	for _, death := range step.Builds() {
		t.Run(string(death), func(t *testing.T) {
			w := newWorkshop(t)
			reached, past := make(chan struct{}), make(chan struct{})
			var once sync.Once
			w.failpoint(func(at step.Step) error {
				if at == step.BuildOutcome {
					close(past)
				}
				return nil
			})
			w.build("kept", fromBase(step1("RUN", "kept")))
			<-past // Otherwise its last step could be taken for one of the next build.
			w.failpoint(func(at step.Step) error {
				if at == death {
					once.Do(func() { close(reached) })
					select {} // the process is dead
				}
				return nil
			})
			recipe := fromBase(step1("RUN", "one"), step1("RUN", "two"))
			b := w.begin("mine", recipe)
			<-reached
			w.failpoint(nil)
			w.crashed = w.rt
			w.rt.background.Stop()
			w.open()
			got, _ := w.await(b)
			switch ready := death == step.BuildOutcome; {
			case ready && got.State != sandbox.BuildReady:
				t.Errorf("it was ready, and is %s", got.State)
			case !ready && (got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "the daemon was restarted")):
				t.Errorf("%s, %+v", got.State, got.Failure)
			}
			w.build("mine", recipe)
			for name, want := range map[string]string{"mine": "one;two;", "kept": "kept;"} {
				sb := w.create(func(req *sandbox.CreateRequest) { req.Template = name })
				if got := w.guest(sb.ID).Get("did"); got != want {
					t.Errorf("%s did %q, want %q", name, got, want)
				}
				if err := errors.Join(w.rt.Kill(t.Context(), sb.ID), w.rt.DeleteTemplate(t.Context(), name)); err != nil {
					t.Error(err)
				}
			}
			collect(t.Context(), w.rt)
			w.wantOnlyBaseAndLayers()
			if n := countSnapshots(w.fixture); n != 1+w.claims("layer") {
				t.Errorf("there are %d snapshots: %v", n, w.host.Objects())
			}
		})
	}
}
