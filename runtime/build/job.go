package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/build/lines"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
)

// Why a build is broken off.
var (
	errReplaced = errors.New("another build of this template began")
	errDeleted  = errors.New("the template was deleted")
	errNoRecipe = errors.New("its recipe did not come within a day")
	errRestart  = errors.New("the daemon was restarted during the build: start it again")
)

// job is what one or several builds of a template with the same recipe wait for.
type job struct {
	template builds.Template
	first    string // the id of its first build
	size     sandbox.Size
	keyID    string
	recipe   sandbox.Recipe
	steps    []recipe.Step
	contents map[string]string // the digests of uploaded files, by the hashes of the client
	digest   string            // of all that decides the result

	ctx    context.Context
	cancel context.CancelCauseFunc
	log    *lines.Log
	done   chan struct{} // closed when the job has ended

	rows []builds.Build // the builds; guarded by Builder.mu
	over bool           // it takes no more builds; guarded by Builder.mu
}

func newJob(t builds.Template, steps []recipe.Step, contents map[string]string, r sandbox.Recipe, row builds.Build) *job {
	j := &job{
		template: t, first: row.ID, recipe: r, steps: steps, contents: contents, keyID: row.KeyID, rows: []builds.Build{row},
		size: sandbox.Size{VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB},
		log:  &lines.Log{}, done: make(chan struct{}),
	}
	j.digest = recipe.Digest(r, contents, j.size, j.keyID)
	return j
}

// same reports whether the job comes to what another would. The caller holds Builder.mu.
func (j *job) same(other *job) bool {
	return !j.over && j.ctx.Err() == nil && j.digest == other.digest
}

// failure is an error of a step.
type failure struct {
	step string
	err  error
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// at says in which step an error was.
func at(step string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{step, err}
}

func (b *Builder) perform(j *job) {
	w, begin := &work{b: b, job: j}, time.Now()
	snap, err := store.Snapshot{}, b.cfg.Steps.At(step.BuildBegun)
	if err == nil {
		snap, err = w.do()
	}
	if err == nil {
		b.cfg.Steps.Latency.Record(latency.ColdTemplateBuild, time.Since(begin))
		j.log.Add("info", sandbox.StepFinalize, fmt.Sprintf("The template is ready (%.1f s)", time.Since(begin).Seconds()))
	}
	ctx, cancel := background.Detached(j.ctx)
	defer cancel()
	b.finish(ctx, j, snap, err)
	j.cancel(nil)
	close(j.done)
	if w.shell.Site != nil {
		w.shell.Site.End(b.cfg.Background) // After the outcome: it may take long, and hangs if the driver does.
	}
}

// finish writes the outcome of a job to its builds.
func (b *Builder) finish(ctx context.Context, j *job, snap store.Snapshot, err error) {
	why := failureOf(j, err)
	if err != nil {
		j.log.Add("error", why.Step, why.Message)
	}
	claims, listed := b.claimsOf(ctx, j.template.ID)
	b.mu.Lock()
	j.over = true
	rows := j.rows
	b.mu.Unlock()
	if err := b.cfg.Store.Builds.PutLog(ctx, j.first, j.log.Lines(0, lines.Max)); err != nil {
		b.cfg.Log.Warn("could not keep the log of a build", "build_id", j.first, "error", err)
	}
	written := 0
	for _, row := range rows {
		row.FinishedAt, row.LogID = time.Now(), j.first
		var put error
		if err == nil {
			row.State, row.SnapshotID = sandbox.BuildReady, snap.ID
			put = b.cfg.Store.Builds.Ready(ctx, &row)
		} else {
			row.State, row.Step, row.Message = sandbox.BuildFailed, why.Step, why.Message
			put = b.cfg.Store.Builds.Put(ctx, &row)
		}
		if put == nil {
			written++
		} else if !errors.Is(put, store.ErrStale) { // Stale: its template was deleted.
			b.cfg.Log.Error("could not write the outcome of a build", "build_id", row.ID, "error", put)
			b.breakOff(row, "its outcome could not be written: "+put.Error())
		}
	}
	_ = b.cfg.Steps.At(step.BuildOutcome)
	if err == nil {
		b.keep(ctx, j.template.ID)
	}
	b.mu.Lock()
	if b.jobs[j.template.ID] == j {
		delete(b.jobs, j.template.ID)
	}
	b.mu.Unlock()
	b.cfg.Log.Info("template build ended", "template", j.template.Name, "builds", written, "error", err)
	if listed != nil {
		b.cfg.Log.Warn("could not list the former builds of a template", "template", j.template.Name, "error", listed)
	}
	b.dropUnneeded(ctx, append(claims, snap.ID))
	if err := b.cfg.Store.Builds.Forget(ctx, j.template.ID, maxPast); err != nil {
		b.cfg.Log.Warn("could not forget the former builds of a template", "template", j.template.Name, "error", err)
	}
}

// breakOff writes that a build has failed, as soon as that can be written: clients wait for it.
func (b *Builder) breakOff(row builds.Build, why string) {
	row.State, row.SnapshotID = sandbox.BuildFailed, ""
	row.Step, row.Message = sandbox.StepFinalize, why
	life := b.cfg.Background.Context()
	b.cfg.Background.Go(func() {
		_ = site.Retries.Again(life, func() error {
			ctx, cancel := background.Detached(life)
			defer cancel()
			if err := b.cfg.Store.Builds.Put(ctx, &row); err != nil && !errors.Is(err, store.ErrStale) {
				return err
			}
			return nil
		}, nil)
	})
}

// failureOf says why a job failed, for a client.
func failureOf(j *job, err error) sandbox.BuildFailure {
	if err == nil {
		return sandbox.BuildFailure{}
	}
	why := sandbox.BuildFailure{Step: sandbox.StepBase, Message: err.Error()}
	var f *failure
	if errors.As(err, &f) {
		why.Step = f.step
	}
	if cause := context.Cause(j.ctx); cause != nil {
		why.Message = "the build was broken off: " + cause.Error()
		if errors.Is(cause, context.Canceled) {
			why.Message = "the build was broken off: " + errRestart.Error()
		}
	}
	return why
}
