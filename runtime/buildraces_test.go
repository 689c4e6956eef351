package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Layers are named by the files that a build began with. Other files in their place would be in the templates of other clients.
func TestACopyTakesTheFilesThatItsBuildBeganWith(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	hash := strings.Repeat("a", 64)
	b, err := w.rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "mine", KeyID: "k1"})
	if err == nil {
		err = w.rt.PutFiles(t.Context(), b.TemplateID, hash, strings.NewReader("one"))
	}
	if err != nil {
		t.Fatal(err)
	}
	files := sandbox.RecipeStep{Type: "COPY", Args: []string{"a", "/a"}, FilesHash: hash}
	if err := w.rt.StartBuild(t.Context(), b.TemplateID, b.ID, fromBase(step1("RUN", "slow"), files)); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := os.RemoveAll(filepath.Join(w.cfg.Uploads, b.TemplateID)); err != nil {
		t.Fatal(err)
	}
	if err := w.rt.PutFiles(t.Context(), b.TemplateID, hash, strings.NewReader("two")); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if got, _ := w.await(b); got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "upload them again") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	if n := w.claims("layer"); n != 1 {
		t.Errorf("there are %d layers, want that of RUN", n)
	}
}

// A create never misses a template because a new build took its name meanwhile.
func TestACreateDuringABuildGetsTheNewOne(t *testing.T) {
	for _, at := range []step.Step{step.CreateReserved, step.CreateIntent} {
		t.Run(string(at), func(t *testing.T) {
			w := newWorkshop(t)
			w.build("mine", fromBase(step1("RUN", "one")))
			var once sync.Once
			w.failpoint(func(now step.Step) error {
				if now == at {
					once.Do(func() {
						w.build("mine", fromBase(step1("RUN", "two")))
						w.wantClaims("template", 1) // The former one is deleted.
					})
				}
				return nil
			})
			sb := w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
			if got := w.guest(sb.ID).Get("did"); got != "two;" {
				t.Errorf("it did %q", got)
			}
		})
	}
}

// wantClaims waits until there are so many claims of a kind: some are deleted after the outcome of a build.
func (w *workshop) wantClaims(kind string, want int) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for w.claims(kind) != want {
		select {
		case <-deadline:
			w.t.Fatalf("there are %d claims of kind %s", w.claims(kind), kind)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestACreateOfATemplateThatIsDeletedMeanwhile(t *testing.T) {
	w := newWorkshop(t)
	w.build("mine", fromBase(step1("RUN", "one")))
	w.failpoint(func(now step.Step) error {
		if now == step.CreateReserved {
			return w.rt.DeleteTemplate(t.Context(), "mine")
		}
		return nil
	})
	req := request()
	req.Template = "mine"
	if _, err := w.rt.Create(t.Context(), req); !errors.Is(err, sandbox.ErrSnapshotNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestBuildsThatWaitForOneAreBounded(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	recipe := fromBase(step1("RUN", "slow"))
	var builds []sandbox.Build
	for range 50 {
		builds = append(builds, w.begin("mine", recipe))
	}
	<-begun
	more, err := w.rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "mine", KeyID: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.rt.StartBuild(t.Context(), more.TemplateID, more.ID, recipe); !errors.Is(err, sandbox.ErrCapacity) {
		t.Errorf("one more: %v", err)
	}
	if got, _ := w.await(more); got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "too many builds") {
		t.Errorf("one more is %s, %+v", got.State, got.Failure)
	}
	close(goOn)
	for _, b := range builds {
		if got, log := w.await(b); got.State != sandbox.BuildReady {
			t.Errorf("%s: %s", got.State, log)
		}
	}
}

// A build that begins while its template is deleted ends, though the call that deletes it did not see it.
func TestADeleteEndsABuildThatBeginsMeanwhile(t *testing.T) {
	w := newWorkshop(t)
	if err := w.rt.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	templateID := ""
	w.failpoint(func(now step.Step) error {
		switch now {
		case step.BuildBegun:
			return w.db.Builds.Delete(t.Context(), templateID)
		case step.BuildOutcome:
			close(ended)
		}
		return nil
	})
	b, err := w.rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "mine", KeyID: "k1"})
	if templateID = b.TemplateID; err == nil {
		err = w.rt.StartBuild(t.Context(), b.TemplateID, b.ID, fromBase(step1("RUN", "one")))
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the build is not over")
	}
	if got := w.commands(); len(got) != 0 {
		t.Errorf("it ran %q", got)
	}
	w.wantOnlyBaseAndLayers()
}

// Each layer takes as much of the disk as a snapshot, so each is made only while there is room for one.
func TestABuildLeavesTheDiskItsRoom(t *testing.T) {
	w := newWorkshop(t)
	free := &fakeDisk{}
	free.free.Store(plenty)
	w.cfg.Disk, w.cfg.DiskRoot, w.cfg.Floors = free, "/state", floors
	w.restart()
	begun, goOn := w.hold("fill")
	b := w.begin("mine", fromBase(step1("RUN", "one"), step1("RUN", "fill"), step1("RUN", "two")))
	<-begun
	free.free.Store(floors.Save - 1)
	close(goOn)
	if got, _ := w.await(b); got.State != sandbox.BuildFailed || got.Failure.Step != "2" || !strings.Contains(got.Failure.Message, "must stay free") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	if n := w.claims("layer"); n != 0 {
		t.Errorf("%d layers are left on a full disk", n)
	}
	w.wantOnlyBaseAndLayers()
}

// A build whose outcome cannot be written fails, and does not stay building until the next start.
func TestABuildWhoseOutcomeIsRefusedFails(t *testing.T) {
	w := newWorkshop(t)
	w.failpoint(func(now step.Step) error {
		if now != step.BuildSaved {
			return nil
		}
		for w.claims("template") > 0 { // Its seal may change it meanwhile.
			claims, err := w.db.Snapshots.Claims(t.Context())
			for _, c := range claims {
				if c.Kind == "template" && err == nil {
					_, err = w.db.Snapshots.Drop(t.Context(), c.ID, c.Version)
				}
			}
			if err != nil && !errors.Is(err, store.ErrStale) {
				return err
			}
		}
		return nil
	})
	b, _ := w.await(w.begin("mine", fromBase(step1("RUN", "one"))))
	if b.State != sandbox.BuildFailed || !strings.Contains(b.Failure.Message, "its outcome could not be written") {
		t.Errorf("%s, %+v", b.State, b.Failure)
	}
	w.failpoint(nil)
	w.build("mine", fromBase(step1("RUN", "one")))
}
