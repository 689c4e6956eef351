package vmtest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// with makes a running machine of the harness's spec with a change.
func (e *env) with(id string, change func(*vm.Spec)) {
	e.Helper()
	s := e.spec()
	change(&s)
	e.ok(e.d.Create(e.ctx, id, s))
	e.ok(e.d.Start(e.ctx, id))
}

// look asks the guest.
func (e *env) look(id string, question ...string) string {
	e.Helper()
	answer, err := e.h.Look(e.ctx, e.d, id, question...)
	e.ok(err)
	return answer
}

// answers checks the answer of the guest.
func (e *env) answers(id, want string, question ...string) {
	e.Helper()
	if got := e.look(id, question...); got != want {
		e.Errorf("guest %s answers %q with %q, want %q", id, question, got, want)
	}
}

// number is an answer that is a number.
func (e *env) number(id string, question ...string) int64 {
	e.Helper()
	answer := e.look(id, question...)
	n, err := strconv.ParseInt(answer, 10, 64)
	if err != nil {
		e.Fatalf("guest %s answers %q with %q, want a number", id, question, answer)
	}
	return n
}

// scratch is a path in the guest to write to.
func (e *env) scratch(name string) string {
	if e.h.Scratch == "" {
		return "/tmp/" + name
	}
	return e.h.Scratch + "/" + name
}

// honours is a rule about fields of a Spec that shows them in the guest.
func honours(name string, run func(e *env), fields ...string) rule {
	return rule{name: "honour/" + name, needs: []string{"Look"}, honours: fields, run: run}
}

var honourRules = []rule{
	honours("hostname", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.Hostname = "vmtest-a" })
		e.with("b", func(s *vm.Spec) { s.Hostname = "vmtest-b" })
		e.answers("a", "vmtest-a", "hostname")
		e.answers("b", "vmtest-b", "hostname")
		e.snapshot("a", "one")
		s := e.restoreSpec("a", "one", true)
		s.Hostname = "vmtest-c"
		e.ok(e.d.Create(e.ctx, "c", s))
		e.answers("c", "vmtest-c", "hostname")
		e.answers("a", "vmtest-a", "hostname")
	}, "Hostname"),
	honours("memory-is-what-the-guest-has", func(e *env) {
		for id, mib := range map[string]int{"a": 200, "b": 400} {
			e.with(id, func(s *vm.Spec) { s.MemoryMiB = mib })
			if got, most := e.number(id, "memory"), int64(mib)<<20; got > most || got < most/2 {
				e.Errorf("the guest has %d bytes of memory, want at most %d and at least half of that", got, most)
			}
			if e.implements(vm.CapabilityStats) {
				st, err := e.d.(vm.Statser).Stats(e.ctx, id)
				e.ok(err)
				if st.MemoryLimitBytes < int64(mib)<<20 {
					e.Errorf("the limit of %d MiB is shown as %d bytes", mib, st.MemoryLimitBytes)
				}
			}
		}
	}, "MemoryMiB"),
	honours("out-of-memory-is-the-reason", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.MemoryMiB = 128 })
		e.with("b", func(s *vm.Spec) { s.MemoryMiB = 128 })
		e.runsOutOfMemory("a")
		// Another machine is not affected, and ends for another reason.
		e.status("b", vm.StatusRunning)
		e.look("b", "hostname")
		if e.h.Kill != nil {
			if reason := e.kill("b").ExitReason; reason == reasonOutOfMemory {
				e.Errorf("a machine that was killed has the reason %q", reason)
			}
		}
	}, "MemoryMiB"),
	honours("out-of-memory-is-the-reason-after-a-restore", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.MemoryMiB = 512 })
		e.snapshot("a", "one")
		s := e.restoreSpec("a", "one", true)
		s.MemoryMiB = 128
		e.ok(e.d.Create(e.ctx, "b", s))
		e.runsOutOfMemory("b")
		e.status("a", vm.StatusRunning)
	}, "MemoryMiB"),
	honours("processors-are-what-the-guest-has", func(e *env) {
		for id, n := range map[string]int{"a": 1, "b": 2} {
			e.with(id, func(s *vm.Spec) { s.VCPUs = n })
			want := n
			if e.h.Processors != nil {
				want = e.h.Processors(n)
			}
			if got := e.number(id, "processors"); got != int64(want) {
				e.Errorf("with a limit of %d the guest has %d processors, want %d", n, got, want)
			}
		}
	}, "VCPUs"),
	{name: "honour/processor-time-is-limited", capability: vm.CapabilityStats, needs: []string{"Look"}, honours: []string{"VCPUs"}, run: func(e *env) {
		e.with("a", func(s *vm.Spec) { s.VCPUs = 1 })
		if got := e.load("a"); got > mostLoad {
			e.Errorf("with a limit of 1 the guest used the time of %.2f processors", got)
		}
		// The control; a busy host may give no guest that much time.
		e.running("b")
		for range 2 {
			if got := e.load("b"); got > mostLoad {
				return
			}
		}
		e.Log("no guest without a limit got the time of more than one processor either")
	}},
	honours("disk", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.DiskMiB = 20 })
		e.answers("a", Done, "write", e.scratch("some"), "10")
		e.answers("a", Full, "write", e.scratch("more"), "30")
		e.answers("a", Done, "remove", e.scratch("more"))
		e.answers("a", Done, "write", e.scratch("other"), "2")
		e.with("b", func(s *vm.Spec) { s.DiskMiB = 60 })
		e.answers("b", Done, "write", e.scratch("more"), "30")
	}, "DiskMiB"),
	honours("disk-of-root-and-mounts-is-one", func(e *env) {
		e.with("a", func(s *vm.Spec) {
			s.DiskMiB = 20
			s.Mounts = append(s.Mounts, vm.Mount{Source: e.TempDir(), Target: overlayTarget, Overlay: true})
		})
		e.answers("a", Done, "write", e.scratch("some"), "12")
		e.answers("a", Full, "write", overlayTarget+"/more", "12")
		e.answers("a", Done, "remove", e.scratch("some"))
		e.answers("a", Done, "write", overlayTarget+"/other", "4")
	}, "DiskMiB", "Mounts"),
	honours("processes", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.MaxProcesses = 60 })
		e.answers("a", Done, "processes", "3")
		e.answers("a", TooMany, "processes", "70")
		e.snapshot("a", "one")
		e.restore("b", "a", "one", true)
		for _, id := range []string{"a", "b"} {
			e.answers(id, Done, "processes", "3")
			e.answers(id, TooMany, "processes", "70")
		}
	}, "MaxProcesses"),
	honours("read-only-root", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.RootfsReadOnly = true })
		e.running("b")
		for id, want := range map[string]string{"a": ReadOnly, "b": Done} {
			e.answers(id, want, "write", "/vmtest-new", "0")
			if e.h.RootFile != "" {
				e.answers(id, want, "change", e.h.RootFile)
				e.answers(id, want, "remove", e.h.RootFile)
			}
		}
	}, "RootfsReadOnly"),
	honours("arguments", func(e *env) {
		e.running("a")
		e.with("b", func(s *vm.Spec) { s.Args = append(slices.Clone(s.Args), "vmtest argument") })
		args := strings.Join(e.spec().Args, " ")
		e.answers("a", args, "args")
		e.answers("b", args+" vmtest argument", "args")
	}, "Args"),
	honours("environment", func(e *env) {
		e.running("a")
		e.with("b", func(s *vm.Spec) { s.Env = append(slices.Clone(s.Env), "VMTEST=its value = this") })
		e.answers("a", "", "env", "VMTEST")
		e.answers("b", "its value = this", "env", "VMTEST")
	}, "Env"),
	honours("working-directory", func(e *env) {
		e.with("a", func(s *vm.Spec) { s.Cwd = "/" })
		e.with("b", func(s *vm.Spec) { s.Cwd = strings.TrimSuffix(e.scratch(""), "/") })
		e.answers("a", "/", "cwd")
		e.answers("b", strings.TrimSuffix(e.scratch(""), "/"), "cwd")
	}, "Cwd"),
	honours("address-is-that-of-the-spec", (*env).ownAddresses, "GuestIP"),
	honours("network-namespace-is-that-of-the-spec", (*env).ownAddresses, "NetNS", "GuestIP"),
	honours("kernel-command-line", func(e *env) {
		e.running("a")
		e.with("b", func(s *vm.Spec) { s.BootArgs = strings.TrimSpace(s.BootArgs + " vmtest=1") })
		for id, want := range map[string]bool{"a": false, "b": true} {
			if got := e.look(id, "command-line"); slices.Contains(strings.Fields(got), "vmtest=1") != want {
				e.Errorf("the kernel of %s has the command line %q", id, got)
			}
		}
	}, "BootArgs"),
}

// ownAddresses checks that each machine has the address of its spec and none of
// another, a restored one too.
func (e *env) ownAddresses() {
	e.Helper()
	ips := map[string]string{}
	for _, id := range []string{"a", "b"} {
		e.with(id, func(s *vm.Spec) { ips[id] = s.GuestIP })
	}
	e.snapshot("a", "one")
	s := e.restoreSpec("a", "one", true)
	ips["c"] = s.GuestIP
	e.ok(e.d.Create(e.ctx, "c", s))
	for id := range ips {
		addresses := strings.Fields(e.look(id, "addresses"))
		for other, ip := range ips {
			if slices.Contains(addresses, ip) != (ip == ips[id]) || ip == "" {
				e.Errorf("guest %s with the address %q has %q; %s has %q", id, ips[id], addresses, other, ip)
			}
		}
	}
}

const reasonOutOfMemory = "oom"

// runsOutOfMemory makes the guest use all its memory and checks how it ends.
func (e *env) runsOutOfMemory(id string) {
	e.Helper()
	eaten := make(chan string, 1)
	go func() {
		// The guest ends before it answers.
		if answer, err := e.h.Look(e.ctx, e.d, id, "eat"); err == nil {
			eaten <- answer
		}
	}()
	var v vm.View
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for v = e.view(id); v.ExitReason == ""; v = e.view(id) {
		select {
		case answer := <-eaten:
			if v = e.view(id); v.ExitReason == "" {
				e.Fatalf("the guest may use more memory than its limit: it answers %q", answer)
			}
		case <-tick.C:
		}
	}
	if v.ExitReason != reasonOutOfMemory || v.Status != vm.StatusStopped {
		e.Errorf("a guest without memory is %s for the reason %q, want %q", v.Status, v.ExitReason, reasonOutOfMemory)
	}
	if e.implements(vm.CapabilityWait) {
		if reason := e.reason(e.wait(e.ctx, id)); reason != reasonOutOfMemory {
			e.Errorf("Wait returns %q, want %q", reason, reasonOutOfMemory)
		}
	}
}

// mostLoad is what a guest with one processor may use: the limit, what the
// period of a control group lets through, and the machine's own overhead.
const mostLoad = 1.35

// load is how many processors' time a guest uses that has four busy threads.
func (e *env) load(id string) float64 {
	e.Helper()
	usage := func() time.Duration {
		st, err := e.d.(vm.Statser).Stats(e.ctx, id)
		e.ok(err)
		return st.CPUTime
	}
	before, began := usage(), time.Now()
	e.answers(id, Done, "spin", "0.5")
	used := usage() - before // Read before the end of the time: never too much.
	return used.Seconds() / time.Since(began).Seconds()
}
