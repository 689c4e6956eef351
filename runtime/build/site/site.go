// Package site is where one build of a template happens: a machine with no row among the sandboxes, in which commands run
// and files are put, and which can be saved at any time. It may import sandbox, policy, store, envd, api, vm and the parts
// of the runtime below it; it knows no recipe.
package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	Log          *slog.Logger
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

// Hold keeps the root of the plan's machine by hold, which may be nil, until ctx ends: what the plan was made of may go before the first state that
// is kept names it.
func (p Plan) Hold(ctx context.Context, hold func(ctx context.Context, root string) error) error {
	if hold == nil {
		return nil
	}
	spec := p.Boot
	if spec == nil {
		spec = &vm.Spec{}
		if err := json.Unmarshal([]byte(p.Origin.Spec), spec); err != nil {
			return err
		}
	}
	if err := hold(ctx, spec.Rootfs); err != nil {
		return fmt.Errorf("its root file system: %w", err)
	}
	return nil
}

// Site is a site. Open and Close are called one after the other; what is between them is for one goroutine, and can be
// abandoned by a Close.
type Site struct {
	cfg   Config
	plan  Plan
	guest machine.Guest
	spec  string // of the driver, as JSON

	marked bool // there may be a machine
	slots  []string
	freed  []func()
}

// New returns a site that is not open.
func New(cfg Config, plan Plan) *Site {
	plan.Origin.Size = plan.Size
	return &Site{cfg: cfg, plan: plan, spec: plan.Origin.Spec, guest: machine.Guest{
		ID: "bld-" + sandbox.NewID(), TemplateID: plan.TemplateID, Key: plan.KeyID, Egress: egress.Of(nil, sandbox.Egress{}),
	}}
}

// Open makes the machine and waits until its agent answers. It waits for its turn and for capacity. The caller calls Close also
// after an error.
func (s *Site) Open(ctx context.Context) error {
	size := s.plan.Size
	reservation, err := s.cfg.Admission.Admit(ctx, tenant, capacity.Sandbox(size.VCPUs, size.MemoryMiB, size.DiskMiB))
	if err != nil {
		return err
	}
	s.freed = append(s.freed, func() { reservation.Release() }, s.cfg.InUse.Hold(s.guest.ID))
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the machine of the build did not start within %s", startTimeout))
	defer cancel()
	s.marked = true
	if err := s.cfg.Machines.Mark(s.guest.ID); err != nil {
		return err
	}
	if s.plan.Boot != nil {
		err = s.boot(ctx)
	} else {
		err = s.cfg.Machines.Restore(ctx, s.guest, machine.Launch{Origin: s.plan.Origin}, true, s.slotted)
	}
	if err != nil {
		return err
	}
	reservation.Launched()
	if s.plan.Boot != nil || s.plan.Origin.Filesystem {
		if err := s.cfg.Machines.AwaitAgent(ctx, s.guest.ID); err != nil {
			return err
		}
	}
	return s.cfg.Machines.Deliver(ctx, s.guest, machine.Launch{Origin: s.plan.Origin})
}

func (s *Site) slotted(id string) {
	s.slots = append(s.slots, id)
	s.freed = append(s.freed, s.cfg.InUse.Hold(id))
}

// Close ends the machine, also when ctx has ended. After an error it is called again: the slot, and the capacity, are in use
// as long as the machine may be there.
func (s *Site) Close(ctx context.Context) error {
	ctx, cancel := background.Detached(ctx)
	defer cancel()
	if s.marked {
		if err := s.cfg.Machines.Destroy(ctx, s.guest.ID); err != nil {
			return err
		}
		if err := s.cfg.Machines.Unmark(s.guest.ID); err != nil {
			return err
		}
		s.marked = false
	}
	for len(s.slots) > 0 {
		if err := s.cfg.Machines.Release(ctx, s.slots[0]); err != nil {
			return err
		}
		s.slots = s.slots[1:]
	}
	for _, free := range s.freed {
		free()
	}
	s.freed = nil
	return nil
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

// ID is that of the machine.
func (s *Site) ID() string { return s.guest.ID }

// Spec is the specification of the machine, in JSON.
func (s *Site) Spec() string { return s.spec }

// Root is that of machine.Machines.
func (s *Site) Root(ctx context.Context, least int64) (envd.RootState, error) {
	return s.cfg.Machines.Root(ctx, s.guest.ID, least)
}

// RootTimes is that of machine.Machines.
func (s *Site) RootTimes(ctx context.Context, w io.Writer) error {
	return s.cfg.Machines.RootTimes(ctx, s.guest.ID, w)
}

// RestoreExtras is that of machine.Machines.
func (s *Site) RestoreExtras(ctx context.Context, extras []envd.Extra) error {
	return s.cfg.Machines.RestoreExtras(ctx, s.guest.ID, extras)
}

// Hold keeps a complete snapshot until drop is called, also if its claim is dropped.
func (c Config) Hold(ctx context.Context, state store.Snapshot) (drop func(), err error) {
	n := c.Claims.Claim(store.Sandbox{ID: state.VMID, KeyID: state.KeyID}, claim.KindFork)
	held := state
	held.ID, held.Kind, held.Name, held.Source, held.Version = n.ID, n.Kind, "", state.VMID, 0
	free := c.InUse.Hold(held.ID)
	if err := c.Claims.Publish(ctx, &held, state.ID); err != nil {
		free()
		return nil, err
	}
	drop = func() {
		defer free()
		if err := c.Claims.Drop(ctx, held.ID); err != nil {
			c.Log.Warn("could not drop the claim of a build", "snapshot_id", held.ID, "error", err)
		}
	}
	if _, err := c.Claims.Find(ctx, state.ID, state.Kind); err != nil { // Its files may have gone with it before.
		drop()
		return nil, err
	}
	return drop, nil
}
