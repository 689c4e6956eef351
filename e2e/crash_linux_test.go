package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/vm/gvisor"
)

// crashOp is an operation at whose steps the daemon dies.
type crashOp struct {
	name string
	// steps are those that it passes; a crash at each of them is a case.
	steps []string
	// before is what the subject is brought to: "running", "paused", "paused
	// without memory", "with snapshot", or "" for no subject.
	before string
	// flags of the daemon that dies. alone: it dies without a request.
	flags []string
	alone bool
	do    func(ctx context.Context, api client.API, s *subject)
	// after says in which state the subject must be found; nil for no subject.
	after func(step string) string
	// born is how many more sandboxes there may be than the subject.
	born func(step string) (least, most int)
}

// The steps of the driver that are passed together.
var (
	restoring  = []string{"create:bundle", "create:cgroup", "create:record", "create:sandbox", "create:recorded", "create:loading", "create:running"}
	preparing  = []string{"create:linked", "create:bundle", "create:cgroup", "create:record", "create:sandbox", "create:recorded"}
	saving     = []string{"snapshot:staging", "snapshot:saved", "snapshot:sealed", "snapshot:parent", "snapshot:committed"}
	destroying = []string{"destroy:killed", "destroy:cgroup", "destroy:files", "destroy:removed"}
	deleting   = []string{"snapshot.dropped", "delete:moved", "snapshot.deleted"}
)

// notPassed are steps of the driver for what the daemon never asks it to do.
var notPassed = []string{"rename:recorded", "rename:moved"}

func crashOps() []crashOp {
	pausing := slices.Concat([]string{"pause.intent", "stop:paused", "pause.stopped"}, saving,
		[]string{"pause.saved", "pause.claimed"}, destroying, []string{"pause.ended", "pause.freed", "pause.outcome"})
	resuming := slices.Concat([]string{"resume.reserved", "resume.intent", "resume.network"}, restoring,
		[]string{"resume.machine", "resume.delivered", "resume.outcome"}, deleting, []string{"resume.dropped"})
	paused := since("paused", "running", "pause.claimed", pausing)
	resumed := since("running", "paused", "resume.outcome", resuming)
	always := func(state string) func(string) string { return func(string) string { return state } }
	none := func(string) (int, int) { return 0, 0 }
	create := func(ctx context.Context, api client.API, _ *subject) { api.Create(ctx, "base", time.Hour) }
	created := func(step string) (int, int) {
		if step == "create.outcome" {
			return 1, 1
		}
		return 0, 0
	}
	connect := func(ctx context.Context, api client.API, s *subject) { api.Connect(ctx, s.sb.ID, time.Hour) }
	kill := func(ctx context.Context, api client.API, s *subject) { api.Kill(ctx, s.sb.ID) }
	return []crashOp{
		{name: "create", do: create, born: created,
			steps: slices.Concat([]string{"create.reserved", "create.intent", "create.network"}, restoring,
				[]string{"create.machine", "create.delivered", "create.outcome"})},
		{name: "create from the warm pool", do: create, born: created, flags: []string{"--warm=1"},
			steps: []string{"create.machine", "create.delivered", "create.outcome"}},
		{name: "create from a prepared machine", do: create, born: created, flags: []string{"--prepared=1"},
			steps: []string{"start:begun", "start:running", "create.machine", "create.delivered", "create.outcome"}},
		{name: "refill with a warm machine", alone: true, born: none, flags: []string{"--warm=1"}, steps: restoring},
		{name: "refill with a prepared machine", alone: true, born: none, flags: []string{"--prepared=1"}, steps: preparing},
		{name: "pause", before: "running", steps: pausing, after: paused, born: none,
			do: func(ctx context.Context, api client.API, s *subject) { api.Pause(ctx, s.sb.ID, true) }},
		{name: "pause without memory", before: "running", steps: pausing, after: paused, born: none,
			do: func(ctx context.Context, api client.API, s *subject) { api.Pause(ctx, s.sb.ID, false) }},
		{name: "resume", before: "paused", steps: resuming, after: resumed, born: none, do: connect},
		{name: "resume without memory", before: "paused without memory", steps: resuming, after: resumed, born: none, do: connect},
		{name: "snapshot", before: "running", after: always("running"), born: none,
			steps: slices.Concat([]string{"snapshot.intent"}, saving, []string{"snapshot.saved", "snapshot.outcome"}),
			do:    func(ctx context.Context, api client.API, s *subject) { api.Snapshot(ctx, s.sb.ID, "") }},
		{name: "delete snapshot", before: "with snapshot", after: always("running"), born: none, steps: deleting,
			do: func(ctx context.Context, api client.API, s *subject) { api.DeleteSnapshot(ctx, s.snapshot) }},
		{name: "fork", before: "running", after: always("running"),
			steps: slices.Concat([]string{"snapshot.intent"}, saving, []string{"snapshot.saved", "snapshot.outcome", "fork.saved", "create.reserved",
				"create.intent", "create.network"}, restoring, []string{"create.machine", "create.delivered", "create.outcome", "fork.children"}, deleting),
			born: func(step string) (int, int) {
				switch step {
				case "fork.children", "snapshot.dropped", "delete:moved", "snapshot.deleted":
					return 2, 2
				case "create.outcome":
					return 1, 2
				}
				if strings.HasPrefix(step, "create") {
					return 0, 1 // The other child may be further.
				}
				return 0, 0
			},
			do: func(ctx context.Context, api client.API, s *subject) { api.Fork(ctx, s.sb.ID, 2, time.Hour) }},
		{name: "kill", before: "running", after: always("killed"), born: none, do: kill,
			steps: slices.Concat([]string{"kill.intent"}, destroying, []string{"kill.ended", "kill.freed", "kill.outcome"})},
		{name: "kill of a paused one", before: "paused", after: always("killed"), born: none, do: kill,
			steps: slices.Concat([]string{"kill.intent", "kill.ended", "kill.freed"}, deleting, []string{"kill.dropped", "kill.outcome"})},
	}
}

// since returns the state of a subject: what it was before a step, and what it
// is from there on.
func since(then, before, step string, steps []string) func(string) string {
	return func(s string) string {
		if slices.Index(steps, s) >= slices.Index(steps, step) {
			return then
		}
		return before
	}
}

// TestACrashAtAnyStepOfTheRealDaemonLosesNothingAndLeaksNothing kills the daemon
// at the steps of every operation, and starts the next one over what is there.
// Two sandboxes stand by through all of it.
func TestACrashAtAnyStepOfTheRealDaemonLosesNothingAndLeaksNothing(t *testing.T) {
	ops := crashOps()
	checkSteps(t, ops)
	if !*soak {
		slice, why := chooseSlice(*crashSlice, slices.Max(lengths(ops)), headCommit, time.Now())
		t.Logf("slice %d of %d, %s; the same again with -crash-slice=%d", slice, slices.Max(lengths(ops)), why, slice)
		short(ops, slice)
	}
	m := newMatrix(t)
	begin, cases := time.Now(), 0
	for _, op := range ops {
		for _, step := range op.steps {
			cases++
			if !t.Run(op.name+"/"+step, func(t *testing.T) { m.crashAt(t, op, step) }) {
				t.FailNow() // What comes after would only repeat it.
			}
		}
	}
	for _, c := range []*counter{m.running, m.paused} {
		if _, _, err := m.api.Connect(t.Context(), c.sb.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := c.advance(t.Context(), m.api); err != nil {
			t.Error(err)
		}
	}
	m.finish(t)
	record(t, "crash matrix", map[string]any{"cases": cases, "seconds": time.Since(begin).Seconds()})
}

// checkSteps makes sure that no step is forgotten, and none is misspelt.
func checkSteps(t *testing.T, ops []crashOp) {
	t.Helper()
	var all []string
	for _, s := range step.All() {
		all = append(all, string(s))
	}
	all = append(all, gvisor.Steps()...)
	tried := slices.Clone(notPassed)
	for _, op := range ops {
		tried = append(tried, op.steps...)
	}
	for _, step := range all {
		if !slices.Contains(tried, step) {
			t.Errorf("no operation is crashed at %s", step)
		}
	}
	for _, step := range tried {
		if !slices.Contains(all, step) {
			t.Errorf("there is no step %s", step)
		}
	}
}

func TestCrashMatrixCoversEveryStep(t *testing.T) {
	checkSteps(t, crashOps())
}
