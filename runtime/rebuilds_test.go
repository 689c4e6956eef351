package runtime

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/sandbox"
)

func TestAnotherBuildTakesTheName(t *testing.T) {
	w := newWorkshop(t)
	first := w.build("mine", fromBase(step1("RUN", "one")), "default", "v1")
	old := w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
	second := w.build("mine", fromBase(step1("RUN", "two")))
	if second.TemplateID != first.TemplateID {
		t.Errorf("%s and %s", first.TemplateID, second.TemplateID)
	}
	did := func(name string) string {
		t.Helper()
		return w.guest(w.create(func(req *sandbox.CreateRequest) { req.Template = name }).ID).Get("did")
	}
	if a, b := did("mine"), did("mine:v1"); a != "two;" || b != "one;" {
		t.Errorf("mine is %q, mine:v1 is %q", a, b)
	}
	if w.guest(old.ID).Get("did") != "one;" {
		t.Error("the sandbox of the former build changed")
	}
	tags, err := w.rt.Tags(t.Context(), "mine")
	if err != nil || len(tags) != 2 || tags[0].BuildID != second.ID || tags[1].BuildID != first.ID {
		t.Errorf("%+v, %v", tags, err)
	}
	if _, err := w.rt.Tag(t.Context(), "mine:v1", []string{"stable"}); err != nil {
		t.Fatal(err)
	}
	if err := w.rt.Untag(t.Context(), "mine", []string{"v1"}); err != nil || did("mine:stable") != "one;" {
		t.Error("untag", err)
	}
	if err := w.rt.Untag(t.Context(), "mine", []string{"stable"}); err != nil {
		t.Fatal(err)
	}
	if n := w.claims("template"); n != 1 {
		t.Errorf("%d builds are kept, of one tag", n)
	}
	if err := w.rt.Untag(t.Context(), "mine", []string{"default"}); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("the default tag: %v", err)
	}
	if _, err := w.rt.Tag(t.Context(), "mine", []string{"A:b"}); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("a tag that cannot be: %v", err)
	}
	if err := w.rt.Untag(t.Context(), "mine", []string{"v9"}); !errors.Is(err, sandbox.ErrTagNotFound) {
		t.Errorf("a tag that is not there: %v", err)
	}
	if err := w.rt.DeleteTemplate(t.Context(), "mine"); err != nil || w.claims("template") != 0 {
		t.Errorf("%v; %d builds are left", err, w.claims("template"))
	}
	if err := w.rt.DeleteTemplate(t.Context(), "mine"); !errors.Is(err, sandbox.ErrTemplateNotFound) {
		t.Errorf("again: %v", err)
	}
	if w.guest(old.ID).Get("did") != "one;" {
		t.Error("the sandbox of the deleted template changed")
	}
}

func (w *workshop) claims(kind string) (n int) {
	all, err := w.db.Snapshots.Claims(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range all {
		if c.Kind == kind {
			n++
		}
	}
	return n
}

// hold makes a command wait until it is let go on.
func (w *workshop) hold(text string) (begun, goOn chan struct{}) {
	begun, goOn = make(chan struct{}, 100), make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	inner := w.shell
	w.shell = func(c shellCommand) (string, int) {
		if c.text == text {
			begun <- struct{}{}
			<-goOn
		}
		return inner(c)
	}
	return begun, goOn
}

func TestTheSameBuildsAreOne(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	var builds []sandbox.Build
	for range 32 {
		builds = append(builds, w.begin("mine", fromBase(step1("RUN", "slow"))))
	}
	<-begun
	lines, err := w.rt.BuildLogs(t.Context(), builds[31].TemplateID, builds[31].ID, 0, 10)
	if err != nil || len(lines) == 0 || !strings.Contains(lines[len(lines)-1].Message, "RUN slow") {
		t.Errorf("the last one sees %+v, %v", lines, err)
	}
	close(goOn)
	for i, b := range builds {
		if got, log := w.await(b); got.State != sandbox.BuildReady {
			t.Errorf("build %d is %s: %s", i, got.State, log)
		}
	}
	if got := w.commands(); !slices.Equal(got, []string{"slow"}) {
		t.Errorf("they ran %q", got)
	}
	if n := w.claims("template"); n != 1 {
		t.Errorf("there are %d claims", n)
	}
	w.create(func(req *sandbox.CreateRequest) { req.Template = "mine" })
}

func TestADifferentBuildEndsTheOneBefore(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	defer close(goOn)
	first := w.begin("mine", fromBase(step1("RUN", "slow")))
	<-begun
	w.build("mine", fromBase(step1("RUN", "fast")))
	if got, _ := w.await(first); got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "another build of this template began") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	second := w.begin("other", fromBase(step1("RUN", "slow")))
	<-begun
	if err := w.rt.DeleteTemplate(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rt.GetBuild(t.Context(), second.TemplateID, second.ID); !errors.Is(err, sandbox.ErrTemplateNotFound) {
		t.Errorf("of a deleted template: %v", err)
	}
}

func TestABuildThatADaemonLeftHasFailed(t *testing.T) {
	w := newWorkshop(t)
	begun, goOn := w.hold("slow")
	defer close(goOn)
	ready := w.build("kept", fromBase(step1("RUN", "one")))
	b := w.begin("mine", fromBase(step1("RUN", "one"), step1("RUN", "slow")))
	waiting, err := w.rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "later"})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	w.restart()
	got, _ := w.await(b)
	if got.State != sandbox.BuildFailed || !strings.Contains(got.Failure.Message, "the daemon was restarted") {
		t.Errorf("%s, %+v", got.State, got.Failure)
	}
	if got, _ := w.await(ready); got.State != sandbox.BuildReady {
		t.Errorf("the ready one is %s", got.State)
	}
	w.commands()
	if err := w.rt.StartBuild(t.Context(), waiting.TemplateID, waiting.ID, fromBase(step1("RUN", "one"))); err != nil {
		t.Fatal(err)
	}
	if got, log := w.await(waiting); got.State != sandbox.BuildReady || len(w.commands()) != 0 {
		t.Errorf("the waiting one is %s, and nothing of it was cached: %s", got.State, log)
	}
	w.create(func(req *sandbox.CreateRequest) { req.Template = "kept" })
}

func TestUploadsAreKeptAndRefused(t *testing.T) {
	w := newWorkshop(t)
	hash := someHash
	b, err := w.rt.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	copied := fromBase(sandbox.RecipeStep{Type: "COPY", Args: []string{"a", "/b"}, FilesHash: hash})
	if err := w.rt.StartBuild(t.Context(), b.TemplateID, b.ID, copied); !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), "were not uploaded") {
		t.Errorf("without its files: %v", err)
	}
	there := func() bool {
		t.Helper()
		ok, err := w.rt.HasFiles(t.Context(), b.TemplateID, hash)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	broken := io.MultiReader(strings.NewReader("half"), errReader{})
	if err := w.rt.PutFiles(t.Context(), b.TemplateID, hash, broken); err == nil || there() {
		t.Error("a broken upload is kept")
	}
	if err := w.rt.PutFiles(t.Context(), b.TemplateID, hash, strings.NewReader("whole")); err != nil || !there() {
		t.Error("it is not there", err)
	}
	if err := w.rt.PutFiles(t.Context(), b.TemplateID, "../../etc/passwd", strings.NewReader("x")); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("a path as a hash: %v", err)
	}
	if err := w.rt.PutFiles(t.Context(), "nothing", hash, strings.NewReader("x")); !errors.Is(err, sandbox.ErrTemplateNotFound) {
		t.Errorf("of no template: %v", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("it broke off") }

func TestNamesOfTemplates(t *testing.T) {
	w := newWorkshop(t)
	first := w.build("first", fromBase())
	sb := w.create()
	if _, err := w.rt.Snapshot(t.Context(), sb.ID, "taken", "k1"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		first.TemplateID: sandbox.ErrInvalid, "base": sandbox.ErrInvalid, "": sandbox.ErrInvalid, "A": sandbox.ErrInvalid, "a:b": sandbox.ErrInvalid, "../a": sandbox.ErrInvalid, "taken": sandbox.ErrConflict, "ns/ok_1": nil,
	} {
		if _, err := w.rt.BeginBuild(context.Background(), sandbox.TemplateRequest{Name: name}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	if err := w.rt.DeleteTemplate(t.Context(), "base"); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("the base: %v", err)
	}
}

// someHash can name uploaded files.
var someHash = strings.Repeat("ab", 32)
