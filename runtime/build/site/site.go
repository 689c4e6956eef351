// Package site is where one build of a template happens: a machine that is no sandbox, in which commands run
// and files are put, and which can be saved at any time. It may import sandbox, policy, store, envd, api, vm and the parts
// of the runtime below it; it knows no recipe.
package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// tenant has a separate line in the queue, beside those of the keys: builds do not starve sandboxes.
const tenant = "template builds"

// startTimeout bounds the start of a machine, a boot included.
const startTimeout = time.Minute

// Config holds the dependencies of sites. All fields are required.
type Config struct {
	Driver       vm.Runtime
	Network      machine.Network
	Machines     *machine.Machines
	Claims       *claim.Claims
	Admission    *admission.Controller
	InUse        *orphan.InUse
	Environments interface {
		Put(ctx context.Context, id string, env map[string]string) error
	}
}

// Plan says what a site begins with.
type Plan struct {
	// Origin is what its machine is restored from, if Boot is nil.
	Origin claim.Origin
	// Boot is the root file system and the agent of a machine that boots.
	Boot *vm.Spec
	// Env and Defaults are those of the image that boots.
	Env      map[string]string
	Defaults sandbox.Defaults
	Size     sandbox.Size
	// TemplateID, Name and BuildID say what is built, and KeyID for whom.
	TemplateID, Name, BuildID, KeyID string
}

// Site is an open site. It is for one goroutine. Close ends it.
type Site struct {
	cfg   Config
	plan  Plan
	guest machine.Guest
	spec  string // of the driver, as JSON
	freed []func(context.Context) error
}

// Open makes the machine and waits until its agent answers. It waits for its turn and for capacity. On an error
// nothing is left.
func Open(ctx context.Context, cfg Config, plan Plan) (_ *Site, err error) {
	s := &Site{cfg: cfg, plan: plan, spec: plan.Origin.Spec, guest: machine.Guest{
		ID: "bld-" + sandbox.NewID(), TemplateID: plan.TemplateID, Key: plan.KeyID, Egress: egress.Of(nil, sandbox.Egress{}),
	}}
	reservation, err := cfg.Admission.Admit(ctx, tenant, capacity.Sandbox(plan.Size.VCPUs, plan.Size.MemoryMiB, plan.Size.DiskMiB))
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { reservation.Release(); return nil })
	release := cfg.InUse.Hold(s.guest.ID)
	s.onClose(func(context.Context) error { release(); return nil })
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(ctx))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := cfg.Machines.Mark(s.guest.ID); err != nil {
		return nil, err
	}
	s.onClose(func(ctx context.Context) error {
		// The slot stays in use as long as the machine; the next start frees both.
		return errors.Join(cfg.Machines.Destroy(ctx, s.guest.ID), cfg.Machines.Unmark(s.guest.ID))
	})
	if plan.Boot != nil {
		err = s.boot(ctx)
	} else {
		err = cfg.Machines.Restore(ctx, s.guest, machine.Launch{Origin: plan.Origin}, true, s.slotted)
	}
	if err != nil {
		return nil, err
	}
	reservation.Launched()
	if plan.Boot != nil || plan.Origin.Filesystem {
		if err := cfg.Machines.AwaitAgent(ctx, s.guest.ID); err != nil {
			return nil, err
		}
	}
	return s, cfg.Machines.Deliver(ctx, s.guest, machine.Launch{Origin: plan.Origin})
}

func (s *Site) onClose(free func(context.Context) error) { s.freed = append(s.freed, free) }

// slotted owns a slot. It is freed after the machine that uses it.
func (s *Site) slotted(id string) {
	release := s.cfg.InUse.Hold(id)
	s.freed = append([]func(context.Context) error{func(ctx context.Context) error {
		defer release()
		return s.cfg.Machines.Release(ctx, id)
	}}, s.freed...)
}

// Close ends the machine, also when ctx has ended.
func (s *Site) Close(ctx context.Context) error {
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	var errs []error
	for i := len(s.freed) - 1; i >= 0; i-- {
		errs = append(errs, s.freed[i](ctx))
	}
	s.freed = nil
	return errors.Join(errs...)
}

// Save takes a snapshot of the site, which goes on, as a claim of a kind. env and defaults are those of
// what is made from it; name is that of the claim, or empty.
func (s *Site) Save(ctx context.Context, kind, name string, env map[string]string, defaults sandbox.Defaults) (_ store.Snapshot, err error) {
	n := s.cfg.Claims.Claim(store.Sandbox{
		ID: s.guest.ID, OriginID: s.plan.Origin.ID, TemplateID: s.plan.TemplateID, Alias: s.plan.Name, BuildID: s.plan.BuildID, Spec: s.spec,
		VCPUs: s.plan.Size.VCPUs, MemoryMiB: s.plan.Size.MemoryMiB, DiskMiB: s.plan.Size.DiskMiB, KeyID: s.plan.KeyID, Defaults: defaults,
	}, kind)
	defer s.cfg.InUse.Hold(n.ID)()
	if err := s.cfg.Claims.Add(ctx, &n); err != nil {
		return n, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.cfg.Claims.Drop(ctx, n.ID))
		}
	}()
	if len(env) > 0 {
		if err := s.cfg.Environments.Put(ctx, n.ID, env); err != nil {
			return n, err
		}
	}
	if err := s.cfg.Driver.Snapshot(ctx, s.guest.ID, n.Snapshot); err != nil {
		return n, fmt.Errorf("save the build: %w", err)
	}
	n.Name = name
	if err := s.cfg.Claims.Saved(ctx, &n); err != nil {
		return n, err
	}
	s.cfg.Claims.Seal(n)
	return n, nil
}

// Define gives the guest the environment and the defaults that its commands have from now on.
func (s *Site) Define(ctx context.Context, env map[string]string, defaults sandbox.Defaults) error {
	return s.cfg.Machines.Redefine(ctx, s.guest, env, defaults)
}

// Copy puts the files of an archive into the guest.
func (s *Site) Copy(ctx context.Context, req envd.CopyRequest, archive io.Reader) error {
	return s.cfg.Machines.Copy(ctx, s.guest.ID, req, archive)
}
