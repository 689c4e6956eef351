package runtime

import (
	"fmt"
	stdruntime "runtime"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestTemplatesCountAsSnapshots(t *testing.T) {
	w := newWorkshop(t)
	w.cfg.Shares = admission.Shares{SnapshotsPerKey: 2}
	w.restart()
	w.build("one", fromBase())
	if _, err := w.rt.Snapshot(t.Context(), w.create().ID, "", "k1"); err != nil {
		t.Fatal(err)
	}
	b, _ := w.await(w.begin("two", fromBase(step1("RUN", "two"))))
	if b.State != sandbox.BuildFailed || !strings.Contains(b.Failure.Message, "this key has 2 snapshots") {
		t.Errorf("%s, %+v", b.State, b.Failure)
	}
	if err := w.rt.DeleteTemplate(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	w.build("two", fromBase(step1("RUN", "two")))
}

func TestBuildsTakeTurns(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	most := max(2, stdruntime.NumCPU())
	var builds []sandbox.Build
	for i := range most + 1 {
		builds = append(builds, w.begin(fmt.Sprint("t", i), fromBase(step1("RUN", "slow"))))
	}
	for range most {
		<-begun
	}
	if n := w.rt.admission.Ledger.Active().Sandboxes; n != int64(most) {
		t.Errorf("%d machines for %d builds", n, most)
	}
	close(goOn)
	for _, b := range builds {
		if got, log := w.await(b); got.State != sandbox.BuildReady {
			t.Errorf("%s: %s", got.State, log)
		}
	}
}

func TestOldLayersAreDeleted(t *testing.T) {
	w := newWorkshop(t)
	var steps []sandbox.RecipeStep
	for i := range 70 {
		steps = append(steps, step1("RUN", fmt.Sprint("step", i)))
	}
	w.build("mine", fromBase(steps...))
	layers, err := w.db.Snapshots.Page(t.Context(), store.Page{Kind: "layer"})
	if err != nil || len(layers) != 64 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
	w.commands()
	w.build("other", fromBase(steps...))
	if got := w.commands(); len(got) != 0 {
		t.Errorf("the newest are deleted: it ran %q", got)
	}
}

// One key that builds for long does not keep others waiting.
func TestOneKeyLeavesTurnsForOthers(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	most := max(2, stdruntime.NumCPU())
	var builds []sandbox.Build
	for i := range 2*most + 1 {
		builds = append(builds, w.begin(fmt.Sprint("t", i), fromBase(step1("RUN", "slow"))))
	}
	for range most {
		<-begun
	}
	other, err := w.rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "other", KeyID: "k2"})
	if err == nil {
		err = w.rt.StartBuild(t.Context(), other.TemplateID, other.ID, fromBase(step1("RUN", "quick")))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, log := w.await(other); got.State != sandbox.BuildReady {
		t.Errorf("%s: %s", got.State, log)
	}
	close(goOn)
	for _, b := range builds {
		if got, log := w.await(b); got.State != sandbox.BuildReady {
			t.Errorf("%s: %s", got.State, log)
		}
	}
}
