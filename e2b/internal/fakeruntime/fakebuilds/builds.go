// Package fakebuilds is the part of a runtime in memory that builds templates: a build does what its test says, and
// nothing before. Only package fakeruntime and tests of e2b may import it; it may import sandbox.
package fakebuilds

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// Builds has the methods of templates.Runtime but for those of snapshots. The zero value is ready, and safe for concurrent use.
type Builds struct {
	// Known are templates that were made without a recipe. They are set before use.
	Known []sandbox.Template

	mu        sync.Mutex
	err       error
	templates []*template       // guarded by mu
	files     map[string]string // the digests of archives, by template and hash; guarded by mu
	receiving int               // archives that are being read; guarded by mu
	breakAt   int64             // guarded by mu
	breakWith error             // guarded by mu
	number    int               // of builds; guarded by mu
	warm      map[string]int    // how many machines of templates shall be kept; guarded by mu
}

type template struct {
	sandbox.Template
	builds []*build // the oldest first
	tags   map[string]sandbox.TemplateTag
}

type build struct {
	sandbox.Build
	recipe *sandbox.Recipe
	logs   []sandbox.BuildLog
}

// Epoch is when the first build is requested; each next one is a second later.
var Epoch = time.Date(2026, 3, 4, 5, 6, 7, 8000000, time.UTC)

// Fail makes every method return err; nil ends that.
func (b *Builds) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// enter locks, if there is no failure. The caller unlocks mu if there is no error.
func (b *Builds) enter() error {
	b.mu.Lock()
	if err := b.err; err != nil {
		b.mu.Unlock()
		return err
	}
	return nil
}

// find returns the template of a name or id. The caller holds mu.
func (b *Builds) find(nameOrID string) (*template, error) {
	for _, t := range b.templates {
		if t.ID == nameOrID || slices.Contains(t.Aliases, nameOrID) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("template %q: %w", nameOrID, sandbox.ErrTemplateNotFound)
}

// build returns a build. The caller holds mu.
func (b *Builds) build(templateID, buildID string) (*template, *build, error) {
	t, err := b.find(templateID)
	if err != nil {
		return nil, nil, err
	}
	for _, one := range t.builds {
		if one.ID == buildID {
			return t, one, nil
		}
	}
	return nil, nil, fmt.Errorf("build %q: %w", buildID, sandbox.ErrBuildNotFound)
}

// BeginBuild implements templates.Runtime.
func (b *Builds) BeginBuild(_ context.Context, req sandbox.TemplateRequest) (sandbox.Build, error) {
	if err := b.enter(); err != nil {
		return sandbox.Build{}, err
	}
	defer b.mu.Unlock()
	if b.known(req.Name) != nil {
		return sandbox.Build{}, fmt.Errorf("%w: %q is made of files of the host", sandbox.ErrInvalid, req.Name)
	}
	if err := req.Check(); err != nil {
		return sandbox.Build{}, err
	}
	at := Epoch.Add(time.Duration(b.number) * time.Second)
	t, err := b.find(req.Name)
	if err != nil {
		t = &template{tags: map[string]sandbox.TemplateTag{}}
		t.Template = sandbox.Template{ID: fmt.Sprintf("tpl%017d", len(b.templates)), Aliases: []string{req.Name}, CreatedAt: at, UpdatedAt: at}
		b.templates = append(b.templates, t)
	}
	one := &build{Build: sandbox.Build{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", b.number), TemplateID: t.ID, Name: req.Name, Tags: req.Tags, State: sandbox.BuildWaiting,
		VCPUs: max(req.VCPUs, 2), MemoryMiB: max(req.MemoryMiB, 512), DiskMiB: 1024, CreatedAt: at, KeyID: req.KeyID,
	}}
	if req.MemoryMiB > 0 {
		one.MemoryMiB = req.MemoryMiB
	}
	if req.VCPUs > 0 {
		one.VCPUs = req.VCPUs
	}
	b.number++
	t.builds = append(t.builds, one)
	return one.Build, nil
}

// StartBuild implements templates.Runtime. A build of the same template that is on its way fails.
func (b *Builds) StartBuild(_ context.Context, templateID, buildID string, recipe sandbox.Recipe) error {
	if err := b.enter(); err != nil {
		return err
	}
	defer b.mu.Unlock()
	if err := recipe.Check(); err != nil {
		return err
	}
	t, one, err := b.build(templateID, buildID)
	switch {
	case err != nil:
		return err
	case one.State != sandbox.BuildWaiting:
		return fmt.Errorf("start build: %w: it is %s", sandbox.ErrConflict, one.State)
	}
	for i, s := range recipe.Steps {
		if s.Type == "COPY" && b.files[t.ID+"/"+s.FilesHash] == "" {
			return fmt.Errorf("%w: step %d: the files were not uploaded", sandbox.ErrInvalid, i+1)
		}
	}
	for _, older := range t.builds {
		if older.State == sandbox.BuildBuilding {
			older.end(&sandbox.BuildFailure{Message: "cancelled by another build of the template"})
		}
	}
	one.State, one.recipe = sandbox.BuildBuilding, &recipe
	return nil
}

func (one *build) end(failure *sandbox.BuildFailure) {
	one.State, one.FinishedAt = sandbox.BuildReady, one.CreatedAt.Add(time.Minute)
	if failure != nil {
		one.State, one.Failure = sandbox.BuildFailed, failure
	}
}

// Recipe returns what a build was started with; nil if it was not.
func (b *Builds) Recipe(templateID, buildID string) *sandbox.Recipe {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, one, err := b.build(templateID, buildID)
	if err != nil {
		return nil
	}
	return one.recipe
}

// Log adds lines to the log of a build.
func (b *Builds) Log(templateID, buildID string, lines ...sandbox.BuildLog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, one, err := b.build(templateID, buildID)
	if err != nil {
		panic(err)
	}
	one.logs = append(one.logs, lines...)
}

// Finish ends a build that is on its way: it is ready, with its tags, or has failed.
func (b *Builds) Finish(templateID, buildID string, failure *sandbox.BuildFailure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, one, err := b.build(templateID, buildID)
	if err != nil {
		panic(err)
	}
	one.end(failure)
	if failure != nil {
		return
	}
	for _, name := range one.Tags {
		t.tags[name] = sandbox.TemplateTag{Tag: name, BuildID: one.ID, CreatedAt: one.FinishedAt}
	}
	t.BuildID, t.VCPUs, t.MemoryMiB, t.DiskMiB, t.UpdatedAt = one.ID, one.VCPUs, one.MemoryMiB, one.DiskMiB, one.FinishedAt
}

// GetBuild implements templates.Runtime.
func (b *Builds) GetBuild(_ context.Context, templateID, buildID string) (sandbox.Build, error) {
	if err := b.enter(); err != nil {
		return sandbox.Build{}, err
	}
	defer b.mu.Unlock()
	_, one, err := b.build(templateID, buildID)
	if err != nil {
		return sandbox.Build{}, err
	}
	return one.Build, nil
}

// BuildLogs implements templates.Runtime.
func (b *Builds) BuildLogs(_ context.Context, templateID, buildID string, from, limit int) ([]sandbox.BuildLog, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	_, one, err := b.build(templateID, buildID)
	if err != nil {
		return nil, err
	}
	from = min(from, len(one.logs))
	return slices.Clone(one.logs[from:min(from+limit, len(one.logs))]), nil
}

// TemplateBuilds implements templates.Runtime.
func (b *Builds) TemplateBuilds(_ context.Context, templateID string) ([]sandbox.Build, error) {
	if err := b.enter(); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	if b.known(templateID) != nil {
		return nil, nil
	}
	t, err := b.find(templateID)
	if err != nil {
		return nil, err
	}
	var all []sandbox.Build
	for _, one := range slices.Backward(t.builds) {
		all = append(all, one.Build)
	}
	return all, nil
}
