// Package vmtest is the conformance suite of package vm: every rule of the
// contract is a named subtest, and every driver passes all of them. It may
// import vm and the standard library; only tests of drivers may import it.
//
// Nothing in it is about one mechanism: the form of the root file system, the
// timeouts, what a guest can be asked and what its processes may do come from
// the Harness, which the driver's own test fills in. A rule that a driver cannot
// show is skipped with the reason, and the harness lists all of them (see
// Harness.Skips), so that a new skip fails. A case of an optional interface that
// the driver does not have becomes a check that Info says so too.
package vmtest

import (
	"cmp"
	"context"
	"maps"
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

	// Spec is a valid cold boot. Machines of it stay up until they are ended. Its
	// root has the directories of MountPoints, if the driver accepts Mounts.
	Spec func(t *testing.T) vm.Spec

	// RestoreSpec is what a restore of a machine of Spec needs beside
	// RestoreFrom (mounts, a network namespace). Nil: nothing.
	RestoreSpec func(t *testing.T) vm.Spec

	// Accepts are the optional Spec fields, by Go name, that the driver honours
	// on a cold boot. Each of the others must be refused with ErrUnsupported.
	// See Fields.
	Accepts []string

	// OtherRoot returns a root file system in a form that the driver takes, and
	// with other content than that of Spec.
	OtherRoot func(t *testing.T) string

	// Look runs the function Look in the guest of a running machine, which is how
	// the suite sees that a field is honoured, and returns its answer.
	Look func(ctx context.Context, d vm.Runtime, id string, question ...string) (string, error)

	// Scratch is a directory in which the guest of Spec may write; "/tmp" if empty.
	Scratch string

	// RootFile is a file in the root of Spec that the guest may change; empty if
	// there is none.
	RootFile string

	// Processors is how many processors a guest with this limit sees. Nil: as
	// many as the limit says.
	Processors func(vcpus int) int

	// Honoured are the driver's own checks of fields in Accepts that no rule of
	// the suite is about, by Go name.
	Honoured map[string]func(t *testing.T, d vm.Runtime)

	// Confinement describes the host processes of a running machine.
	Confinement func(t *testing.T, d vm.Runtime, id string) []Confined

	// Crash makes the call on a driver value over the state of d, in a daemon that
	// dies half-way, and returns the value of the next one. d is not used again.
	// Half-way is where Hold holds the call.
	Crash func(t *testing.T, d vm.Runtime, c Call) vm.Runtime

	// Guest reaches into running machines to show that memory survives.
	Guest func(d vm.Runtime) Guest

	// Files reaches into the file system of running machines: a name is a file
	// in a writable directory of the guest, a value its content.
	Files func(d vm.Runtime) Guest

	// BootID reads what names the present boot of a running machine's kernel.
	BootID func(ctx context.Context, d vm.Runtime, id string) (string, error)

	// Echo returns a port on which the running machine sends back what it
	// receives, and one without a listener.
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
	// "snapshot", "destroy", "adopt") on id, heedless of the call's context, until release
	// or the end of the machine; release may be called more than once. "adopt" is
	// that of the driver value that Reopen will make. entered is closed when the
	// call hangs, or will.
	Hang func(t *testing.T, d vm.Runtime, op, id string) (entered <-chan struct{}, release func())

	// Fail makes the next op on id fail half-way, after part of its effect.
	Fail func(t *testing.T, d vm.Runtime, op, id string)

	// Missing gives the reason for each hook that is nil, by field name.
	Missing map[string]string

	// Unshown gives the reason why the driver cannot show a rule, by its name,
	// though the hooks that it needs are there.
	Unshown map[string]string

	// Skips are the names of all rules that are skipped, for whatever reason.
	Skips []string

	// Limits are the driver's timeouts.
	Limits Limits

	// Parallel lets cases run beside each other, as many as -parallel says.
	Parallel bool
}

// MountPoints returns the directories that the root of Harness.Spec must have.
func MountPoints() []string { return []string{readOnlyTarget, overlayTarget} }

// Limits are the times that a driver promises to keep on the machine that runs
// the suite. A zero is the default.
type Limits struct {
	// Case is how long one case may take; 30 seconds.
	Case time.Duration
	// Answer is how long after the end of its context a call on a machine that
	// hangs may take to return. The contract says a second; the default of five
	// allows for a busy host.
	Answer time.Duration
	// Destroy is how long the destruction of a machine that hangs may take;
	// 20 seconds.
	Destroy time.Duration
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Case:    cmp.Or(l.Case, 30*time.Second),
		Answer:  cmp.Or(l.Answer, 5*time.Second),
		Destroy: cmp.Or(l.Destroy, 20*time.Second),
	}
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
		"OtherRoot": h.OtherRoot != nil, "Look": h.Look != nil, "Confinement": h.Confinement != nil, "Crash": h.Crash != nil,
	}
}

// rule is one case. Its name is "group/what-must-hold".
type rule struct {
	name string
	// capability that the rule is about, if it is optional.
	capability vm.Capability
	// needs are the hooks without which the rule cannot be shown.
	needs []string
	// honours are the fields of a Spec that the rule shows to be honoured. It is
	// skipped for a driver that refuses one of them.
	honours []string
	run     func(e *env)
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
		destroyRules, deleteRules, renameRules, dialRules, consoleRules, statsRules, weightRules, pageOutRules, readLayerRules, waitRules, adoptRules, forgetRules,
		filesystemRules, inspectRules, concurrencyRules, cancelRules, hangingRules, failureRules,
		honourRules, hostFileRules, crashRules, confineRules)
}

// Run runs every rule as a subtest of t.
func Run(t *testing.T, h Harness) {
	h.Limits = h.Limits.withDefaults()
	checkHarness(t, h)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if h.Parallel {
				t.Parallel()
			}
			if reason := h.skips(r); reason != "" {
				t.Skip(reason)
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
	for _, name := range slices.Sorted(maps.Keys(h.Honoured)) {
		t.Run("honour/own-check-of-"+name, func(t *testing.T) {
			e := newEnv(t, h)
			h.Honoured[name](t, e.d)
		})
	}
}
