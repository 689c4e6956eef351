//go:build linux

// Package hooks calls functions of this process between the guest's code and its kernel,
// and makes files set-uid there before the guest runs.
//
// It may import gVisor; package sentry imports it.
package hooks

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/platform"
)

// Hooks are called by task goroutines between the guest's code and its
// kernel, where they hold no lock. Each may be nil.
type Hooks struct {
	// Made is called once, before there is a guest: gVisor's loader has made the platform.
	Made func()
	// Executed comes after a new program took the place of another.
	Executed func(*kernel.Task)
	// Enter comes before the guest's code runs.
	Enter func(*kernel.Task)
	// Left comes after it; fault says that it was left for a page fault.
	Left func(t *kernel.Task, fault bool)
}

// Install must be called before gVisor's own code runs.
func Install(h Hooks) error {
	systrap, err := platform.Lookup("systrap")
	if err != nil {
		return err
	}
	platform.Register("systrap", hookedConstructor{systrap, h})
	return nil
}

type hookedConstructor struct {
	platform.Constructor
	hooks Hooks
}

func (c hookedConstructor) New(opts platform.Options) (platform.Platform, error) {
	p, err := c.Constructor.New(opts)
	if err != nil {
		return nil, err
	}
	if c.hooks.Made != nil {
		c.hooks.Made()
	}
	return hookedPlatform{p, c.hooks}, nil
}

type hookedPlatform struct {
	platform.Platform
	hooks Hooks
}

func (p hookedPlatform) NewContext(ctx context.Context) platform.Context {
	return &hookedContext{Context: p.Platform.NewContext(ctx), hooks: p.hooks, task: kernel.TaskFromContext(ctx)}
}

type hookedContext struct {
	platform.Context
	hooks Hooks
	task  *kernel.Task
	// executes is true from before the task has a new program until after.
	executes bool
}

// PrepareExecve implements platform.Context.
func (c *hookedContext) PrepareExecve() {
	c.executes = true
	c.Context.PrepareExecve()
}

// FullStateChanged implements platform.Context. Execve calls it for the new program,
// before it lets others attach to the task; other callers stand elsewhere, with locks.
func (c *hookedContext) FullStateChanged() {
	c.Context.FullStateChanged()
	if c.executes && c.task != nil && c.hooks.Executed != nil {
		c.hooks.Executed(c.task)
	}
	c.executes = false
}

// Switch runs the guest until it enters its kernel.
func (c *hookedContext) Switch(ctx context.Context, m platform.MemoryManager, ac *arch.Context64, cpu int32) (*linux.SignalInfo, hostarch.AccessType, error) {
	t := kernel.TaskFromContext(ctx)
	if t != nil && c.hooks.Enter != nil {
		c.hooks.Enter(t)
	}
	info, at, err := c.Context.Switch(ctx, m, ac, cpu)
	if t != nil && c.hooks.Left != nil {
		c.hooks.Left(t, at.Any())
	}
	return info, at, err
}
