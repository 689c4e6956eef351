package fakebuilds

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rundlet/rundlet/sandbox"
)

// The double is not kinder than a runtime: a build is not ready before it is finished, a newer one ends it, and files that broke
// off are not there.
func TestABuildDoesNothingButWhatItsTestSays(t *testing.T) {
	var b Builds
	first, err := b.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "app", Tags: []string{"v1"}})
	if err != nil {
		t.Fatal(err)
	}
	second, _ := b.BeginBuild(t.Context(), sandbox.TemplateRequest{Name: "app", Tags: []string{sandbox.DefaultTag}})
	for _, id := range []string{first.ID, second.ID} {
		if err := b.StartBuild(t.Context(), first.TemplateID, id, sandbox.Recipe{FromTemplate: "base"}); err != nil {
			t.Error(err)
		}
	}
	if err := b.StartBuild(t.Context(), first.TemplateID, second.ID, sandbox.Recipe{FromTemplate: "base"}); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("started twice: %v", err)
	}
	if got, _ := b.GetBuild(t.Context(), first.TemplateID, first.ID); got.State != sandbox.BuildFailed || got.Failure == nil {
		t.Errorf("the older build: %+v", got)
	}
	if b.Has("app") {
		t.Error("a template can be used before it is ready")
	}
	b.Finish(first.TemplateID, second.ID, nil)
	if !b.Has("app") || b.Has("app:v1") {
		t.Error("it has not the tags of the build that is ready")
	}
	hash := strings.Repeat("a", 64)
	broken := errors.New("broken")
	if err := b.PutFiles(t.Context(), "app", hash, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("broken off: %v", err)
	}
	if there, err := b.HasFiles(t.Context(), "app", hash); there || err != nil || b.Receiving() != 0 || len(b.Files()) != 0 {
		t.Errorf("files that broke off are there: %v, %v", there, err)
	}
}
