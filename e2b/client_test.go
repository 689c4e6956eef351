package e2b

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/buildcontext"
	"github.com/rundlet/rundlet/sandbox"
)

// files are what a COPY of a file copies.
func (n *node) files(content string) (files *buildcontext.Files, path string) {
	n.t.Helper()
	dir := n.t.TempDir()
	path = filepath.Join(dir, "a.txt")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
	c, err := buildcontext.Open(dir)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	if files, err = c.Select("*.txt"); err != nil {
		n.t.Fatal(err)
	}
	return files, path
}

func (n *node) api() client.API { return client.API{HTTP: n.client, URL: n.url, Key: n.key} }

var copyRecipe = sandbox.Recipe{FromTemplate: "base", Steps: []sandbox.RecipeStep{{Type: "RUN", Args: []string{"true"}}, {Type: "COPY", Args: []string{"*.txt", "/x"}}}}

// TestTheGoClientBuilds: what the client sends is what the server takes, to the end of a log of several pages.
func TestTheGoClientBuilds(t *testing.T) {
	n := newNode(t, Config{})
	api := n.api()
	files, _ := n.files(strings.Repeat("x", 1<<20))
	hash, err := files.Hash()
	if err != nil {
		t.Fatal(err)
	}
	const lines = 250
	build := func(failure *sandbox.BuildFailure) (ref client.BuildRef, events []string, err error) {
		ref, err = api.Build(t.Context(), client.BuildOptions{
			TemplateRequest: client.TemplateRequest{Name: "app:v1", VCPUs: 4, MemoryMiB: 1024}, Recipe: copyRecipe, Files: map[int]*buildcontext.Files{1: files},
			Progress: func(p client.BuildProgress) {
				switch {
				case p.Begun != nil:
					events = append(events, "begun")
				case p.Upload != nil && p.Upload.Done:
					events = append(events, fmt.Sprintf("uploaded %v %v %d %d", p.Upload.Present, p.Upload.Sent > 0, p.Upload.Step, p.Upload.Size))
				case p.Started != nil:
					events = append(events, "started")
					for i := range lines {
						n.Log(p.Started.TemplateID, p.Started.BuildID, sandbox.BuildLog{Level: "info", Step: "1", Message: fmt.Sprint(i)})
					}
					n.Finish(p.Started.TemplateID, p.Started.BuildID, failure)
				case p.Log != nil:
					events = append(events, p.Log.Message)
				}
			},
		})
		return ref, events, err
	}
	want := func(upload string) []string {
		all := []string{"begun", upload, "started"}
		for i := range lines {
			all = append(all, fmt.Sprint(i))
		}
		return all
	}
	ref, events, err := build(nil)
	if err != nil || !slices.Equal(events, want("uploaded false true 2 1048576")) {
		t.Fatalf("%v, %q", err, events)
	}
	got := n.Recipe(ref.TemplateID, ref.BuildID)
	if got == nil || got.FromTemplate != "base" || got.Steps[1].FilesHash != hash || !slices.Equal(got.Steps[1].Args, []string{"a.txt", "/x"}) {
		t.Errorf("recipe %+v", got)
	}
	if copyRecipe.Steps[1].FilesHash != "" || copyRecipe.Steps[1].Args[0] != "*.txt" {
		t.Errorf("the caller's recipe was changed: %+v", copyRecipe)
	}
	_, events, err = build(&sandbox.BuildFailure{Step: "1", Message: "exit status 7"})
	failed := new(client.BuildError)
	if !errors.As(err, &failed) || failed.Step != "1" || failed.Message != "exit status 7" || len(failed.Logs) == 0 || !slices.Equal(events, want("uploaded true false 2 1048576")) {
		t.Errorf("%v, %q", err, events)
	}
	template, builds, err := api.Template(t.Context(), "app")
	if err != nil || template.ID != ref.TemplateID || len(builds) != 2 || builds[0].State != "error" || builds[1].ID != ref.BuildID || builds[1].VCPUs != 4 {
		t.Errorf("%+v, %+v, %v", template, builds, err)
	}
}

func TestTheGoClientTags(t *testing.T) {
	n := newNode(t, Config{})
	api := n.api()
	b := n.ready("app")
	if id, err := api.TagTemplate(t.Context(), "app", "v1", "v2"); err != nil || id != b.build {
		t.Errorf("%s, %v", id, err)
	}
	if err := api.UntagTemplate(t.Context(), "app", "v2"); err != nil {
		t.Error(err)
	}
	tags, err := api.TemplateTags(t.Context(), "app")
	if err != nil || len(tags) != 2 || tags[0].Tag != "default" || tags[1].Tag != "v1" || tags[1].BuildID != b.build {
		t.Errorf("%+v, %v", tags, err)
	}
	list, err := api.Templates(t.Context())
	if err != nil || len(list) != 2 || !slices.ContainsFunc(list, func(t client.Template) bool { return t.ID == b.template && t.BuildID == b.build }) {
		t.Errorf("%+v, %v", list, err)
	}
	if err := api.DeleteTemplate(t.Context(), "app"); err != nil {
		t.Error(err)
	}
	refusal := new(client.Error)
	if err := api.DeleteTemplate(t.Context(), "app"); !errors.As(err, &refusal) || refusal.Code != 404 {
		t.Errorf("again: %v", err)
	}
}

// TestTheGoClientSendsNoHalfArchive: files that change while they are sent, and a client that goes away, leave nothing at the server.
func TestTheGoClientSendsNoHalfArchive(t *testing.T) {
	n := newNode(t, Config{})
	files, path := n.files("before")
	o := client.BuildOptions{TemplateRequest: client.TemplateRequest{Name: "app"}, Recipe: copyRecipe, Files: map[int]*buildcontext.Files{1: files}}
	o.Progress = func(p client.BuildProgress) {
		if p.Upload != nil && p.Upload.Sent == 0 { // The hash is made.
			if err := os.WriteFile(path, []byte("after!"), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	failed := new(client.BuildError)
	if _, err := n.api().Build(t.Context(), o); !errors.As(err, &failed) || failed.Step != "2" || !strings.Contains(err.Error(), "changed while they were read") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(p client.BuildProgress) {
		if p.Upload != nil {
			cancel()
		}
	}
	if _, err := n.api().Build(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	o.Progress = func(client.BuildProgress) { t.Error("there is a build of files that are not there") }
	if _, err := n.api().Build(t.Context(), o); !errors.As(err, &failed) || failed.Step != "2" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if kept := n.Files(); len(kept) != 0 {
		t.Errorf("%v is kept", kept)
	}
}

// TestAClientThatStopsWatchingLeavesTheBuild as it is.
func TestAClientThatStopsWatchingLeavesTheBuild(t *testing.T) {
	n := newNode(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	ref, err := n.api().Build(ctx, client.BuildOptions{
		TemplateRequest: client.TemplateRequest{Name: "app"}, Recipe: sandbox.Recipe{FromImage: "debian"},
		Progress: func(p client.BuildProgress) {
			if p.Started != nil {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if s, err := n.api().BuildStatus(t.Context(), ref.TemplateID, ref.BuildID, 0, 0); err != nil || s.State != sandbox.BuildBuilding {
		t.Errorf("%+v, %v", s, err)
	}
}
