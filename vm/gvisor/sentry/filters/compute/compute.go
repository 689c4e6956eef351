//go:build linux

// Package compute computes the system call filters that package filters has ready, for
// the architecture of the program that it is in. It is for the generator and for tests.
//
// It may import gVisor; nothing of the sandbox program imports it.
package compute

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	_ "unsafe" // For linkname.

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	_ "gvisor.dev/gvisor/pkg/sentry/platform/platforms" // Registers systrap.
	sentry "gvisor.dev/gvisor/runsc/boot/filter/config"
	gofer "gvisor.dev/gvisor/runsc/fsgofer/filter/config"
)

// gVisor's own PrecompiledPrograms computes the filters of all configurations, which takes
// a minute; the driver uses three. So this does the same for those.

//go:linkname sentryRules gvisor.dev/gvisor/runsc/boot/filter/config.rules
func sentryRules(sentry.Options, precompiledseccomp.Values) (allow, deny seccomp.SyscallRules)

//go:linkname goferRules gvisor.dev/gvisor/runsc/fsgofer/filter/config.rules
func goferRules(gofer.Options, precompiledseccomp.Values) (allow, deny seccomp.SyscallRules)

// SentryOptions are the sentry's configurations.
func SentryOptions() ([]sentry.Options, error) {
	systrap, err := platform.Lookup("systrap")
	if err != nil {
		return nil, err
	}
	var all []sentry.Options
	for _, info := range systrap.PrecompiledSeccompInfo() {
		all = append(all, sentry.Options{Platform: info, HostFilesystem: true})
	}
	return all, nil
}

// GoferOptions are the file server's: with files to serve, or only to open for the sentry.
func GoferOptions() []gofer.Options {
	return []gofer.Options{{DirectFS: true, LisafsNeeded: true}, {DirectFS: true}}
}

// Programs returns the filters of the configurations that the driver uses.
func Programs() (ofSentry, ofGofer []precompiledseccomp.Program, err error) {
	options, err := SentryOptions()
	if err != nil {
		return nil, nil, err
	}
	for _, o := range options {
		var wrong error
		p, err := precompile(o.ConfigKey(), o.Vars(), func(v precompiledseccomp.Values) *seccomp.Program {
			allow, deny := sentryRules(o, v)
			if !ownPID(allow, v.GetUint64("self_pid")) {
				wrong = errors.New("gVisor's rule of rt_tgsigqueueinfo is not the known one")
			}
			return Program(allow, deny, sentry.SeccompOptions(o))
		})
		if err := errors.Join(wrong, err); err != nil {
			return nil, nil, err
		}
		ofSentry = append(ofSentry, p)
	}
	for _, o := range GoferOptions() {
		p, err := precompile(o.ConfigKey(), o.Vars(), func(v precompiledseccomp.Values) *seccomp.Program {
			allow, deny := goferRules(o, v)
			return Program(allow, deny, seccomp.ProgramOptions{})
		})
		if err != nil {
			return nil, nil, err
		}
		ofGofer = append(ofGofer, p)
	}
	return ofSentry, ofGofer, nil
}

// ownPID puts a variable into a rule of the systrap platform. gVisor has the number of the
// process there that computes the rule (docs/upstream/gvisor-precompiled-filters.md), so a
// ready filter would end a sentry that signals its own thread. It reports false, and changes
// nothing, if the rule is another one.
func ownPID(allow seccomp.SyscallRules, pid uint64) bool {
	rule := func(pid uint64) seccomp.SyscallRule {
		return seccomp.PerArg{seccomp.EqualTo(pid), seccomp.AnyValue{}, seccomp.EqualTo(unix.SIGKILL)}
	}
	if !reflect.DeepEqual(allow.Get(unix.SYS_RT_TGSIGQUEUEINFO), rule(uint64(os.Getpid()))) {
		return false
	}
	allow.Remove(unix.SYS_RT_TGSIGQUEUEINFO)
	allow.Set(unix.SYS_RT_TGSIGQUEUEINFO, rule(pid))
	return true
}

func precompile(key string, vars precompiledseccomp.Values, make func(precompiledseccomp.Values) *seccomp.Program) (precompiledseccomp.Program, error) {
	return precompiledseccomp.Precompile(key, slices.Collect(maps.Keys(vars)), make)
}

// Program is the filter of rules as gVisor builds it at a start, on any kernel that the
// driver runs on: an emulator cannot say what the kernel has.
func Program(allow, deny seccomp.SyscallRules, options seccomp.ProgramOptions) *seccomp.Program {
	options.DefaultAction = seccomp.KillProcess
	return &seccomp.Program{
		RuleSets: []seccomp.RuleSet{{Rules: deny.Copy()}, {Rules: allow.Copy(), Action: seccomp.Allow}},
		Options:  options,
	}
}
