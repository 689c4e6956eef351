package runtime

import (
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
)

// What is kept warm changes while the daemon runs, and holds after the next start.
func TestWhatIsKeptWarmChanges(t *testing.T) {
	w := newWorkshop(t)
	keep := func(name string, ready int) {
		t.Helper()
		if err := w.rt.KeepWarm(t.Context(), name, &ready); err != nil {
			t.Fatal(err)
		}
	}
	await := func(name string, ready int) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for w.warmOf(name) != ready {
			select {
			case <-deadline:
				t.Fatalf("%d of %s are warm, want %d", w.warmOf(name), name, ready)
			case <-time.After(time.Millisecond): // The pool works in the background.
			}
		}
	}
	w.build("mine", fromBase(step1("RUN", "one")))
	keep("mine", 2)
	await("mine", 2)
	w.refill(false)
	w.forgetHistory()
	w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
	if slices.Contains(w.history(), "create") {
		t.Error("the sandbox was not made of a warm machine")
	}
	w.refill(true)
	await("mine", 2)
	keep("base", 1) // It was prepared by the build.
	await("base", 1)
	w.cfg.WarmTemplates = map[string]pool.Target{"mine": {Ready: 5}}
	w.restart()
	await("mine", 2)
	if _, err := w.rt.templates.Base(t.Context()); err != nil {
		t.Fatal(err)
	}
	await("base", 1)
	list, err := w.rt.WarmTemplates(t.Context())
	if want := []sandbox.WarmTemplate{{Name: "base", Ready: 1, Set: true, Now: 1}, {Name: "mine", Ready: 2, Set: true, Now: 2}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("%+v, %v", list, err)
	}
	keep("mine", 0)
	keep("base", 0)
	await("mine", 0)
	await("base", 0)
	deadline := time.After(20 * time.Second)
	for w.rt.admission.Ledger.Usage().Warm != (capacity.Budget{}) {
		select {
		case <-deadline:
			t.Fatalf("they have %+v", w.rt.admission.Ledger.Usage().Warm)
		case <-time.After(time.Millisecond):
		}
	}
	if err := w.rt.DeleteTemplate(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	if err := w.rt.KeepWarm(t.Context(), "mine", nil); err != nil {
		t.Errorf("a template that is gone cannot be reset: %v", err)
	}
}
