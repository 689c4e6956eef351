package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// state is what the steps of a recipe set, apart from the machine.
type state struct {
	env      map[string]string
	defaults sandbox.Defaults
}

// work is one job that is being done.
type work struct {
	*Builder
	*job
	site  *site.Site
	state state
}

// do does what a job asks for, and returns the claim that its builds have. Its errors are failures.
func (b *Builder) do(j *job) (snap store.Snapshot, err error) {
	select {
	case b.turns <- struct{}{}:
		defer func() { <-b.turns }()
	case <-j.ctx.Done():
		return snap, at(sandbox.StepBase, context.Cause(j.ctx))
	}
	if err := b.room(j.ctx); err != nil {
		return snap, at(sandbox.StepBase, err)
	}
	w := &work{Builder: b, job: j}
	defer func() {
		if w.site == nil {
			return
		}
		if closed := w.site.Close(j.ctx); closed != nil {
			b.cfg.Log.Warn("could not free the machine of a build yet", "template", j.template.Name, "error", closed)
		}
	}()
	names, next, err := w.begin()
	if err != nil {
		return snap, at(sandbox.StepBase, err)
	}
	for i := next; i < len(j.steps); i++ {
		number := strconv.Itoa(i + 1)
		j.log.add("info", number, fmt.Sprintf("[builder %d/%d] %.1000s", i+1, len(j.steps), j.steps[i].Text))
		if err := w.step(number, j.steps[i]); err != nil {
			return snap, at(number, err)
		}
		if changesMachine(j.steps[i]) {
			if _, err := w.site.Save(j.ctx, claim.KindLayer, layerName(names[i]), w.state.env, w.state.defaults); err != nil {
				return snap, at(number, err)
			}
		}
	}
	snap, err = w.finalize()
	return snap, at(sandbox.StepFinalize, err)
}

// room checks that the disk has room for a build. Layers make room if it has not.
func (b *Builder) room(ctx context.Context) error {
	err := b.cfg.Site.Admission.CheckBuild()
	if err == nil {
		return nil
	}
	b.dropLayers(ctx, 0)
	return b.cfg.Site.Admission.CheckBuild()
}

func changesMachine(s recipe.Step) bool { return s.Run != nil || s.Copy != nil }

// layerName is the name of the claim of a layer. No client can give a snapshot such a name.
func layerName(name string) string { return "#" + name }

// begin opens the site with the latest state that is there already, and returns the names of the states after each step, and
// the first step that is to be done.
func (w *work) begin() (names []string, next int, err error) {
	plan := site.Plan{Size: w.size, TemplateID: w.template.ID, Name: w.template.Name, BuildID: w.rows[0].ID, KeyID: w.keyID}
	name, first, err := w.from(&plan)
	if err != nil {
		return nil, 0, err
	}
	forced := len(w.steps)
	for i, s := range w.steps {
		if s.Force || w.recipe.Force {
			forced = min(forced, i)
		}
		content := ""
		if s.Copy != nil {
			content = w.contents[s.Copy.Hash]
		}
		name = recipe.Chain(name, s, content)
		names = append(names, name)
	}
	for i := forced - 1; i >= 0; i-- {
		if !changesMachine(w.steps[i]) {
			continue
		}
		layer, err := w.cfg.Site.Claims.Find(w.ctx, layerName(names[i]), claim.KindLayer)
		if errors.Is(err, sandbox.ErrSnapshotNotFound) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		cached := plan
		cached.Origin, cached.Boot = claim.OfSnapshot(layer), nil
		if err := w.open(cached); err == nil {
			for k := range i + 1 {
				w.log.add("info", strconv.Itoa(k+1), fmt.Sprintf("CACHED [builder %d/%d] %.1000s", k+1, len(w.steps), w.steps[k].Text))
			}
			return names, i + 1, nil
		} else if !errors.Is(err, vm.ErrIncompatible) && !errors.Is(err, vm.ErrNotFound) {
			return nil, 0, err
		}
		w.cfg.Log.Warn("a layer of a template cannot be restored, and is built anew", "snapshot_id", layer.ID)
		if err := w.cfg.Site.Claims.Drop(w.ctx, layer.ID); err != nil {
			return nil, 0, err
		}
	}
	w.log.add("info", sandbox.StepBase, "[base] FROM "+first)
	return names, 0, w.open(plan)
}

// open opens the site and reads the state that its origin has.
func (w *work) open(plan site.Plan) error {
	env, defaults := plan.Env, plan.Defaults
	var err error
	if plan.Boot == nil {
		defaults = plan.Origin.Defaults
		if env, err = w.cfg.Store.Environments.Get(w.ctx, plan.Origin.ID); err != nil {
			return err
		}
	}
	if w.site, err = site.Open(w.ctx, w.cfg.Site, plan); err != nil {
		return err
	}
	w.state = state{env: map[string]string{}, defaults: defaults}
	maps.Copy(w.state.env, env)
	return nil
}

// from fills in what a build begins with, and returns the name of that state, and what it is called in the log.
func (w *work) from(plan *site.Plan) (name, called string, err error) {
	r := w.recipe
	if called = r.FromTemplate; called == "" {
		if called = r.FromImage; !isBaseImage(called) {
			return w.fromImage(plan, called)
		}
		r.FromTemplate = baseName
	}
	if plan.Origin, err = w.cfg.Resolve(w.ctx, r.FromTemplate); err != nil {
		return "", "", err
	}
	if err := w.cfg.Site.Claims.Fits(plan.Origin); err != nil {
		return "", "", err
	}
	return recipe.Digest("template", plan.Origin.VMID, plan.Origin.Snapshot, w.size), called, nil
}

func (w *work) fromImage(plan *site.Plan, called string) (string, string, error) {
	if w.cfg.Image == nil {
		return "", "", fmt.Errorf("%w: this machine gets no images; begin with a template, such as %q", sandbox.ErrUnsupported, baseName)
	}
	img, err := w.cfg.Image(w.ctx, called, w.recipe.Registry, func(line string) { w.log.add("info", sandbox.StepBase, line) })
	if err != nil {
		return "", "", err
	}
	plan.Boot = &img.Spec
	plan.Defaults, plan.Env = img.Defaults, img.Env
	return recipe.Digest("image", img.Stamp, w.size), called, nil
}
