// Package vmtest is the conformance suite of package vm: every rule of the
// contract is a named subtest, and every driver passes all of them. It may
// import vm and the standard library; only tests of drivers may import it.
//
// A case that needs something the harness cannot do is skipped with the reason
// that the harness states, never silently. A case of an optional interface
// that the driver does not have becomes a check that Info says so too.
package vmtest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Harness connects the suite to one driver. New and Spec are required; each
// other hook that is nil needs an entry in Missing.
type Harness struct {
	// New makes a driver with no machines. It registers what must be closed
	// with t.Cleanup; the suite destroys its machines and deletes its snapshots
	// before that.
	New func(t *testing.T) vm.Runtime

	// Spec is a valid cold boot. Machines of it stay up until they are ended.
	Spec func(t *testing.T) vm.Spec

	// RestoreSpec is what a restore of a machine of Spec needs beside
	// RestoreFrom (mounts, a network namespace). Nil: nothing.
	RestoreSpec func(t *testing.T) vm.Spec

	// Accepts are the optional Spec fields, by Go name, that the driver honours
	// on a cold boot. Each of the others must be refused with ErrUnsupported.
	// See Fields.
	Accepts []string

	// Guest reaches into running machines to show that memory survives.
	Guest func(d vm.Runtime) Guest

	// Files reaches into the file system of running machines: a name is a file
	// in a writable directory of the guest, a value its content.
	Files func(d vm.Runtime) Guest

	// BootID reads what names the present boot of a running machine's kernel.
	BootID func(ctx context.Context, d vm.Runtime, id string) (string, error)

	// Echo returns a port on which the running machine sends back what it
	// receives, and one on which nobody listens.
	Echo func(t *testing.T, d vm.Runtime, id string) (echo, silent uint16)

	// Print makes the running machine write lines to its console.
	Print func(t *testing.T, d vm.Runtime, id string, lines []string)

	// Kill ends the machine's processes from outside, behind the driver's back.
	Kill func(t *testing.T, d vm.Runtime, id string)

	// Leftovers lists the host objects that belong to the driver (processes,
	// cgroups, mounts, files), in any order.
	Leftovers func(t *testing.T, d vm.Runtime) []string

	// Reopen stands for a daemon that died without a clean-up and was started
	// again: a second driver value over the state of d. d is not used again.
	Reopen func(t *testing.T, d vm.Runtime) vm.Runtime

	// Hold makes the next op ("create", "start", "stop", "snapshot",
	// "destroy", "rename") on id wait half-way; "snapshot" is of both kinds. entered is closed when it is
	// there; release lets it go on and may be called more than once.
	Hold func(t *testing.T, d vm.Runtime, op, id string) (entered <-chan struct{}, release func())

	// Hang makes the machine not answer the next op ("create", "start", "stop",
	// "snapshot", "adopt") on id, heedless of the call's context, until release
	// or the end of the machine; release may be called more than once. "adopt" is
	// that of the driver value that Reopen will make. entered is closed when the
	// call hangs, or will.
	Hang func(t *testing.T, d vm.Runtime, op, id string) (entered <-chan struct{}, release func())

	// Fail makes the next op on id fail half-way, after part of its effect.
	Fail func(t *testing.T, d vm.Runtime, op, id string)

	// Missing gives the reason for each hook that is nil, by field name.
	Missing map[string]string

	// Timeout is how long one case may take; 0 is 30 seconds.
	Timeout time.Duration

	// Parallel lets cases run beside each other, as many as -parallel says.
	Parallel bool
}

// Guest is a memory of keys and values inside a running machine.
type Guest interface {
	Write(ctx context.Context, id, key, value string) error
	// Read returns the empty string for a key that was never written.
	Read(ctx context.Context, id, key string) (string, error)
}

// hooks are the optional fields of Harness.
func (h Harness) hooks() map[string]bool {
	return map[string]bool{
		"Guest": h.Guest != nil, "Files": h.Files != nil, "BootID": h.BootID != nil, "Echo": h.Echo != nil, "Print": h.Print != nil, "Kill": h.Kill != nil,
		"Leftovers": h.Leftovers != nil, "Reopen": h.Reopen != nil, "Hold": h.Hold != nil, "Hang": h.Hang != nil, "Fail": h.Fail != nil,
	}
}

// rule is one case. Its name is "group/what-must-hold".
type rule struct {
	name string
	// capability that the rule is about, if it is optional.
	capability vm.Capability
	// needs are the hooks without which the rule cannot be shown.
	needs []string
	run   func(e *env)
}

// Rules returns the names of all cases in the order they run.
func Rules() []string {
	var names []string
	for _, r := range rules() {
		names = append(names, r.name)
	}
	return names
}

func rules() []rule {
	return slices.Concat(infoRules, queryRules, createRules, specRules, lifecycleRules, snapshotRules, restoreRules,
		destroyRules, deleteRules, renameRules, dialRules, consoleRules, statsRules, waitRules, adoptRules, forgetRules,
		filesystemRules, inspectRules, concurrencyRules, cancelRules, hangingRules, failureRules)
}

// Run runs every rule as a subtest of t.
func Run(t *testing.T, h Harness) {
	t.Run("harness/every-missing-hook-has-a-reason", func(t *testing.T) {
		for name, have := range h.hooks() {
			if reason := h.Missing[name]; have == (reason != "") {
				t.Errorf("hook %s: set is %v, reason is %q; exactly one of them is needed", name, have, reason)
			}
		}
		for name := range h.Missing {
			if _, ok := h.hooks()[name]; !ok {
				t.Errorf("Missing names %q, which is no hook", name)
			}
		}
	})
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if h.Parallel {
				t.Parallel()
			}
			for _, name := range r.needs {
				if !h.hooks()[name] {
					t.Skipf("needs the hook %s: %s", name, h.Missing[name])
				}
			}
			e := newEnv(t, h)
			if r.capability != "" && !e.implements(r.capability) {
				if e.d.Info().Has(r.capability) {
					t.Errorf("Info lists %s, the driver does not implement it", r.capability)
				}
				t.Logf("the driver does not implement %s", r.capability)
				return
			}
			r.run(e)
		})
	}
}
