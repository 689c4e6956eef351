package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// matrix is the server of the crash matrix, with the sandboxes that stand by.
type matrix struct {
	*node
	running, paused *counter
}

// matrixSandboxes is what the server has room for.
const matrixSandboxes = 6

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{node: newNode(t, fmt.Sprintf("--max-sandboxes=%d", matrixSandboxes), "--queue-wait=300ms")}
	for _, c := range []**counter{&m.running, &m.paused} {
		sb, err := m.api.Create(t.Context(), "base", 6*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		*c = startCounter(t, m.api, sb)
	}
	if err := m.api.Pause(t.Context(), m.paused.sb.ID, true); err != nil {
		t.Fatal(err)
	}
	return m
}

// subject is the sandbox that the operation is about.
type subject struct {
	*counter
	snapshot string
	// rebooted: it was paused without its memory, so its process is gone.
	rebooted bool
}

// prepare makes the subject.
func (m *matrix) prepare(t *testing.T, before string) *subject {
	t.Helper()
	if before == "" {
		return nil
	}
	ctx := t.Context()
	sb, err := m.api.Create(ctx, "base", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := &subject{counter: startCounter(t, m.api, sb)}
	switch before {
	case "running":
	case "paused":
		err = m.api.Pause(ctx, sb.ID, true)
	case "paused without memory":
		err = m.api.Pause(ctx, sb.ID, false)
		s.rebooted = true
	case "with snapshot":
		var snapshot client.Snapshot
		snapshot, err = m.api.Snapshot(ctx, sb.ID, "")
		s.snapshot = snapshot.ID
	default:
		t.Fatalf("a subject that is %q", before)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (m *matrix) crashAt(t *testing.T, op crashOp, step string) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.srv.logTail())
		}
	})
	s := m.prepare(t, op.before)
	m.kill(t)
	m.dieAt(t, op, step, s)
	m.start()

	snapshots := m.snapshotsAfter(t, op, step, s)
	m.checkConsistent(t, snapshots...)
	m.checkAnswers(t)
	m.checkBorn(t, op, step, s)
	if s != nil {
		s.rebooted = s.rebooted || op.name == "pause without memory" && op.after(step) == "paused"
		m.checkSubject(t, s, op.after(step))
	}
	if err := m.running.advance(t.Context(), m.api); err != nil {
		t.Error(err)
	}
	if sb, err := m.api.Get(t.Context(), m.paused.sb.ID); err != nil || sb.State != "paused" {
		t.Errorf("the paused sandbox is %q, %v", sb.State, err)
	}
	m.clear(t, snapshots)
	m.checkConsistent(t)
	m.checkCapacity(t, matrixSandboxes)
}

// dieAt runs a daemon that dies at the step, and drives the operation until it
// has.
func (m *matrix) dieAt(t *testing.T, op crashOp, step string, s *subject) {
	t.Helper()
	m.srv = launchServer(m.owner, m.dir, []string{"RUNDLET_FAILPOINT=" + step}, append(slices.Clone(m.flags), op.flags...)...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*poolTimeout)
	defer cancel()
	if !op.alone {
		if err := m.srv.waitReady(); err != nil {
			t.Fatalf("%v\n%s", err, m.srv.logTail())
		}
		m.awaitPool(t, op.flags)
		op.do(ctx, m.api, s)
	}
	select {
	case <-m.srv.exited:
	case <-ctx.Done():
		t.Fatalf("the daemon did not die at %s", step)
	}
	var exit *exec.ExitError
	if !errors.As(m.srv.err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL ||
		!strings.Contains(m.srv.logTail(), "failpoint "+step+"\n") {
		t.Fatalf("the daemon ended with %v, and not at %s\n%s", m.srv.err, step, m.srv.logTail())
	}
}

// poolTimeout is how long a pool may take to have a machine: while the machine
// has much to do, it has to wait.
const poolTimeout = 3 * time.Minute

// awaitPool waits for the machine that the flags ask for.
func (m *matrix) awaitPool(t *testing.T, flags []string) {
	t.Helper()
	if len(flags) == 0 {
		return
	}
	awaitFor(t, poolTimeout, func() ([]string, error) {
		metrics, err := m.metrics(t.Context())
		if metrics[`rundlet_warm_pool_ready{pool="base"}`]+metrics[`rundlet_warm_pool_prepared{pool="base"}`] != 1 {
			return []string{"the pool is empty"}, err
		}
		return nil, err
	})
}

// snapshotsAfter are those that the crash has to have left.
func (m *matrix) snapshotsAfter(t *testing.T, op crashOp, step string, s *subject) []string {
	t.Helper()
	list, err := m.api.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	if op.name == "snapshot" && step == "snapshot.outcome" {
		want = 1
	}
	if len(list) != want {
		t.Errorf("there are snapshots %v, want %d", list, want)
	}
	var ids []string
	for _, l := range list {
		ids = append(ids, l.ID)
		sb, err := m.api.Create(t.Context(), l.ID, time.Hour)
		if err != nil {
			t.Errorf("create from snapshot %s: %v", l.ID, err)
			continue
		}
		copied := &counter{sb: sb, token: s.token, seen: s.seen}
		if err := copied.advance(t.Context(), m.api); err != nil {
			t.Errorf("what was created from a snapshot: %v", err)
		}
		killAll(t, m.api, []client.Sandbox{sb})
	}
	return ids
}

// others are the sandboxes beside the subject and those that stand by.
func (m *matrix) others(t *testing.T, s *subject) (others []client.Sandbox) {
	t.Helper()
	list, err := m.api.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range list {
		if sb.ID != m.running.sb.ID && sb.ID != m.paused.sb.ID && (s == nil || sb.ID != s.sb.ID) {
			others = append(others, sb)
		}
	}
	return others
}

// checkBorn counts what the operation created, and looks into forks.
func (m *matrix) checkBorn(t *testing.T, op crashOp, step string, s *subject) {
	t.Helper()
	born := m.others(t, s)
	least, most := op.born(step)
	if len(born) < least || len(born) > most {
		t.Errorf("%d were created, want %d to %d", len(born), least, most)
	}
	for _, sb := range born {
		child, err := m.api.Get(t.Context(), sb.ID) // with its access token
		if err == nil && s != nil {
			err = (&counter{sb: child, token: s.token, seen: s.seen}).advance(t.Context(), m.api)
		}
		if err != nil {
			t.Errorf("what was created: %v", err)
		}
	}
}

// checkSubject looks whether the subject is what it must be, and all there.
func (m *matrix) checkSubject(t *testing.T, s *subject, want string) {
	t.Helper()
	ctx := t.Context()
	sb, err := m.api.Get(ctx, s.sb.ID)
	if want == "killed" {
		if reason := killedReasons(t, m.dir)[s.sb.ID]; code(err) != 404 || reason != "killed by request" {
			t.Errorf("it is %q and not killed: %v, reason %q", sb.State, err, reason)
		}
		return
	}
	if err != nil || string(sb.State) != want {
		t.Errorf("the subject is %q, want %s: %v", sb.State, want, err)
	}
	if _, _, err := m.api.Connect(ctx, s.sb.ID, time.Hour); err != nil {
		t.Errorf("the subject is lost: %v", err)
		return
	}
	if s.rebooted {
		err = s.read(ctx, m.api)
	} else {
		err = s.advance(ctx, m.api)
	}
	if err != nil {
		t.Errorf("the subject: %v", err)
	}
}

// clear leaves the sandboxes that stand by.
func (m *matrix) clear(t *testing.T, snapshots []string) {
	t.Helper()
	killAll(t, m.api, m.others(t, nil))
	for _, id := range snapshots {
		if err := m.api.DeleteSnapshot(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}
