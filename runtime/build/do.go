package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/build/fold"
	"github.com/rundlet/rundlet/runtime/build/layers"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/build/steps"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// stepTimeout bounds one step, as at E2B.
const stepTimeout = time.Hour

// work is one job that is being done.
type work struct {
	*job
	b     *Builder
	shell steps.Shell
	plan  site.Plan      // of the machine that the build began with
	state store.Snapshot // the latest that was kept or restored of the files of the steps; without an id if there is none
}

// do does what a job asks for, and returns the claim that its builds have. Its errors are failures.
func (w *work) do() (snap store.Snapshot, err error) {
	if err := w.b.turns.Take(w.ctx, w.keyID); err != nil {
		return snap, at(sandbox.StepBase, err)
	}
	defer w.b.turns.Give(w.keyID)
	if err := w.stillThere(); err != nil {
		return snap, at(sandbox.StepBase, err)
	}
	if err := w.b.room(w.ctx, w.b.cfg.Site.Admission.CheckBuild); err != nil {
		return snap, at(sandbox.StepBase, err)
	}
	names, next, err := w.begin()
	if err == nil {
		err = w.b.cfg.Steps.At(step.BuildMachine)
	}
	if err != nil {
		return snap, at(sandbox.StepBase, err)
	}
	for i := next; i < len(w.steps); i++ {
		number := strconv.Itoa(i + 1)
		w.log.Add("info", number, fmt.Sprintf("[builder %d/%d] %.1000s", i+1, len(w.steps), w.steps[i].Text))
		if err := w.step(number, w.steps[i]); err != nil {
			return snap, at(number, err)
		}
		if err := w.keep(w.steps[i], names[i]); err != nil {
			return snap, at(number, err)
		}
	}
	if err := w.fold(); err != nil {
		return snap, at(sandbox.StepFinalize, err)
	}
	if snap, err = w.finalize(); err == nil {
		err = w.b.cfg.Steps.At(step.BuildSaved)
	}
	return snap, at(sandbox.StepFinalize, err)
}

// fold puts what the steps wrote into an image, if any did.
func (w *work) fold() error {
	if w.b.cfg.Fold == nil || w.state.ID == "" {
		return nil
	}
	begin := time.Now()
	f := fold.Folder{Make: w.b.cfg.Fold, Site: w.b.cfg.Site, Background: w.b.cfg.Background, Steps: w.b.cfg.Steps, Plan: w.plan, State: w.state}
	out, err := f.Do(w.ctx, w.shell.Site)
	w.shell.Site = out.Site
	switch {
	case err != nil:
		return err
	case out.Why != "":
		w.b.cfg.Log.Info("the files of a build stay in memory", "template", w.template.Name, "build_id", w.first, "reason", out.Why)
	default:
		w.log.Add("info", sandbox.StepFinalize, fmt.Sprintf("The files of the steps, %d MiB, are in the image of the template (%.1f s)",
			out.Bytes>>20, time.Since(begin).Seconds()))
		w.refreshIndex()
	}
	return nil
}

// refreshIndex lets git know the files of a checkout that are in an image now, by other numbers: otherwise the sync of each sandbox would
// write all of them again. It fails if a step has changed some, which does no harm.
func (w *work) refreshIndex() {
	repo := w.shell.Defaults.Repository
	if repo.Checkout == "" {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, saveTimeout)
	defer cancel()
	command := machine.Command{Text: "git update-index -q --refresh", User: repo.User, Workdir: repo.Checkout, Stdout: io.Discard, Stderr: io.Discard}
	if err := w.shell.Site.Run(ctx, command); err != nil {
		w.b.cfg.Log.Info("the index of a checkout is not quite as its files", "template", w.template.Name, "error", err)
	}
}

// stillThere checks that the template was not deleted before the build was known to the call that did it.
func (w *work) stillThere() error {
	_, err := w.b.cfg.Store.Builds.Get(w.ctx, w.first)
	if errors.Is(err, store.ErrNotFound) {
		w.cancel(errDeleted)
	}
	return err
}

// step does one instruction.
func (w *work) step(number string, s recipe.Step) error {
	ctx, cancel := context.WithTimeoutCause(w.ctx, stepTimeout, fmt.Errorf("it took more than %s", stepTimeout))
	defer cancel()
	if s.Copy != nil {
		return w.copy(ctx, *s.Copy)
	}
	return w.shell.Do(ctx, number, s)
}

// keep saves the state after a step that has changed the machine, for later builds.
func (w *work) keep(s recipe.Step, name string) error {
	if err := w.b.cfg.Steps.At(step.BuildStep); err != nil || !s.ChangesMachine() {
		return err
	}
	state, err := w.save(claim.KindLayer, layers.Name(name))
	if err != nil {
		return err
	}
	w.state = state
	w.b.layers.DropBut(w.ctx, layers.Most)
	return w.b.cfg.Steps.At(step.BuildLayer)
}

// save saves the site. A driver that hangs holds up nothing but its own goroutine.
func (w *work) save(kind, name string) (store.Snapshot, error) {
	if err := w.b.room(w.ctx, w.b.cfg.Site.Admission.CheckSnapshot); err != nil {
		return store.Snapshot{}, err
	}
	ctx, cancel := context.WithTimeoutCause(w.ctx, saveTimeout, fmt.Errorf("the snapshot took more than %s", saveTimeout))
	defer cancel()
	s, env, defaults := w.shell.Site, maps.Clone(w.shell.Env), w.shell.Defaults
	return background.Deliver(ctx, w.b.cfg.Background, func() (store.Snapshot, error) {
		return s.Save(ctx, kind, name, env, defaults)
	}, func(n store.Snapshot) { w.b.dropUnneeded(context.WithoutCancel(ctx), []string{n.ID}) })
}

// saveTimeout is that of every snapshot.
const saveTimeout = 5 * time.Minute

// room checks that the disk has room. Layers make room if it has not.
func (b *Builder) room(ctx context.Context, check func() error) error {
	if check() == nil {
		return nil
	}
	b.layers.DropBut(ctx, 0)
	return check()
}

// begin opens the site with the latest state that is there already, and returns the names of the states after each step, and
// the first step that is to be done.
func (w *work) begin() (names []string, next int, err error) {
	plan := site.Plan{Size: w.size, TemplateID: w.template.ID, Name: w.template.Name, BuildID: w.first, KeyID: w.keyID}
	name, first, err := w.from(&plan)
	if err != nil {
		return nil, 0, err
	}
	forced := len(w.steps)
	for i, s := range w.steps {
		if s.Force || w.recipe.Force || s.Moves() {
			forced = min(forced, i)
		}
		content := ""
		if s.Copy != nil {
			content = w.contents[s.Copy.Hash]
		}
		name = recipe.Chain(name, s, content)
		names = append(names, name)
	}
	state := func(i int) string {
		if !w.steps[i].ChangesMachine() {
			return ""
		}
		return names[i]
	}
	last, broken, err := w.b.layers.Last(w.ctx, forced, state, func(layer store.Snapshot) error {
		cached := plan
		cached.Origin, cached.Boot = claim.OfSnapshot(layer), nil
		w.state = layer
		return w.open(cached)
	}, func(i int, err error) {
		w.log.Add("warn", strconv.Itoa(i+1), fmt.Sprintf("The state after this step cannot be restored, and is made anew: %.1000s", err))
	})
	if err != nil {
		return nil, 0, err
	}
	if w.plan = plan; last < 0 {
		w.state = store.Snapshot{}
		w.log.Add("info", sandbox.StepBase, "[base] FROM "+first)
		if err := w.open(plan); err != nil {
			return nil, 0, err
		}
	}
	w.b.layers.Drop(w.ctx, broken)
	for k := range last + 1 {
		w.log.Add("info", strconv.Itoa(k+1), fmt.Sprintf("CACHED [builder %d/%d] %.1000s", k+1, len(w.steps), w.steps[k].Text))
	}
	return names, last + 1, nil
}

// open opens the site and reads the state that its origin has.
func (w *work) open(plan site.Plan) error {
	env, defaults := plan.Env, plan.Defaults
	var err error
	if plan.Boot == nil {
		defaults = plan.Origin.Defaults
		if env, err = w.b.cfg.Store.Environments.Get(w.ctx, plan.Origin.ID); err != nil {
			return err
		}
	}
	if err := plan.Hold(w.ctx, w.b.cfg.Hold); err != nil {
		return err
	}
	if w.shell.Site, err = site.Opened(w.ctx, w.b.cfg.Site, w.b.cfg.Background, plan); err != nil {
		return err
	}
	w.shell.Log, w.shell.Env, w.shell.Defaults = w.log, map[string]string{}, defaults
	maps.Copy(w.shell.Env, env)
	return nil
}

// from fills in what a build begins with, and returns the name of that state, and what it is called in the log.
func (w *work) from(plan *site.Plan) (name, called string, err error) {
	r := w.recipe
	if called = r.FromTemplate; called == "" {
		if called = r.FromImage; !recipe.IsBaseImage(called) || w.b.cfg.HasImage != nil && w.b.cfg.HasImage(called) {
			return w.fromImage(plan, called)
		}
		r.FromTemplate = baseName
	}
	if plan.Origin, err = w.b.cfg.Resolve(w.ctx, r.FromTemplate); err != nil {
		return "", "", err
	}
	if err := w.b.cfg.Site.Claims.Fits(plan.Origin); err != nil {
		return "", "", err
	}
	if !plan.Origin.Freshness.Open() {
		return "", "", fmt.Errorf("%w: the checkout in %s was not up to date when it was saved, and its sync would go on in the template", sandbox.ErrConflict, r.FromTemplate)
	}
	if plan.Origin.Size.VCPUs != w.size.VCPUs {
		if err := w.otherProcessors(plan); err != nil {
			return "", "", err
		}
	}
	return recipe.Digest("template", plan.Origin.VMID, plan.Origin.Snapshot, w.size), called, nil
}

// otherProcessors makes a plan for another number of processors than its origin has. A machine that is restored shows as many as it
// had, so the base boots anew. What runs in other templates cannot: their programs see the former number, and get the share that was asked for.
func (w *work) otherProcessors(plan *site.Plan) error {
	if plan.Origin.Holder != "" {
		w.log.Add("warn", sandbox.StepBase, fmt.Sprintf("Its programs see %d processors, as those of the template that it begins with, and get the time of %d",
			plan.Origin.Size.VCPUs, w.size.VCPUs))
		return nil
	}
	plan.Boot = &vm.Spec{}
	return json.Unmarshal([]byte(plan.Origin.Spec), plan.Boot)
}

func (w *work) fromImage(plan *site.Plan, called string) (string, string, error) {
	if w.b.cfg.Image == nil {
		return "", "", fmt.Errorf("%w: this machine gets no images; begin with a template, such as %q", sandbox.ErrUnsupported, baseName)
	}
	img, err := w.b.cfg.Image(w.ctx, called, w.recipe.Registry, func(line string) { w.log.Add("info", sandbox.StepBase, line) })
	if err != nil {
		return "", "", err
	}
	if err := sandbox.CheckEnvironment(img.Env); err != nil {
		return "", "", fmt.Errorf("image %.300s: %w", called, err)
	}
	plan.Boot = &img.Spec
	plan.Defaults, plan.Env = img.Defaults, img.Env
	return recipe.Digest("image", img.Stamp, w.size), called, nil
}
