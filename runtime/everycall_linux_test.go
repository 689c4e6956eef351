package runtime

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// call is one method of the runtime that can fail, with what it needs.
type call struct {
	ready func(f *fixture) string
	work  func(f *fixture, id string) error
}

// everyCall has an entry for each method of the runtime that returns an error; nil
// if it touches no disk. A method that is not here fails the test.
func everyCall() map[string]*call {
	ctx := context.Background()
	running := func(f *fixture) string { return f.create(long).ID }
	paused := func(f *fixture) string { return f.paused() }
	nothing := func(*fixture) string { return "" }
	snapshot := func(f *fixture) string {
		snap, err := f.rt.Snapshot(ctx, running(f), "named", "")
		if err != nil {
			f.t.Fatal(err)
		}
		return snap.ID
	}
	begun := func(f *fixture) string {
		b, err := f.rt.BeginBuild(ctx, sandbox.TemplateRequest{Name: "mine"})
		if err != nil {
			f.t.Fatal(err)
		}
		return b.TemplateID
	}
	built := func(f *fixture) string {
		w := workshop{fixture: f}
		return w.build("mine", fromBase()).TemplateID
	}
	unsynced := func(f *fixture) string { // Its caller does the sync.
		return f.create(func(r *sandbox.CreateRequest) {
			r.Metadata = map[string]string{freshness.KeyBranch: "main", freshness.KeyTarget: "main"}
		}).ID
	}
	failedSync := func(f *fixture) string {
		f.mu.Lock()
		f.shell = func(shellCommand) (string, int) { return "no", 1 }
		f.mu.Unlock()
		id := f.create(func(r *sandbox.CreateRequest) {
			r.Metadata = map[string]string{freshness.KeyBranch: "main", freshness.KeyTarget: "main", freshness.KeyCheckout: "/app"}
		}).ID
		if err := f.rt.AwaitSync(ctx, id); err != nil {
			f.t.Fatal(err)
		}
		return id
	}
	return map[string]*call{
		"Create": {nothing, func(f *fixture, _ string) error { _, err := f.rt.Create(ctx, request()); return err }},
		"FollowUp": {func(f *fixture) string {
			c, err := f.rt.Capture(ctx, running(f), sandbox.ReasonIdle, "")
			if err != nil {
				f.t.Fatal(err)
			}
			return c.ID
		}, func(f *fixture, id string) error { _, err := f.rt.FollowUp(ctx, id, request()); return err }},
		"Fork": {running, func(f *fixture, id string) error {
			results, err := f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 2, Timeout: time.Minute})
			for _, r := range results {
				err = errors.Join(err, r.Err)
			}
			return err
		}},
		"Capture": {paused, func(f *fixture, id string) error {
			_, err := f.rt.Capture(ctx, id, sandbox.ReasonStopped, "")
			return err
		}},
		"Snapshot":      {running, func(f *fixture, id string) error { _, err := f.rt.Snapshot(ctx, id, "", ""); return err }},
		"SetTimeout":    {running, func(f *fixture, id string) error { return f.rt.SetTimeout(ctx, id, time.Minute) }},
		"Extend":        {running, func(f *fixture, id string) error { return f.rt.Extend(ctx, id, 2*time.Hour) }},
		"ExtendResumed": {running, func(f *fixture, id string) error { return f.rt.ExtendResumed(ctx, id, 2*time.Hour, true) }},
		"Events": {running, func(f *fixture, id string) error {
			_, err := f.rt.Events(ctx, sandbox.EventFilter{SandboxID: id, Limit: 10})
			return err
		}},
		"EventPosition": {running, func(f *fixture, _ string) error { _, _, err := f.rt.EventPosition(ctx, ""); return err }},
		"AwaitEvents": {running, func(f *fixture, id string) error {
			_, err := f.rt.AwaitEvents(ctx, sandbox.EventFilter{SandboxID: id, Limit: 1}, 0)
			return err
		}},
		"Refused":      nil,
		"Traffic":      nil,
		"SetEgress":    {running, func(f *fixture, id string) error { return f.rt.SetEgress(ctx, id, nil, oneOnly) }},
		"BeginSync":    {failedSync, func(f *fixture, id string) error { return f.rt.BeginSync(ctx, id) }},
		"CompleteSync": {failedSync, func(f *fixture, id string) error { return f.rt.CompleteSync(ctx, id) }},
		"FailSync":     {unsynced, func(f *fixture, id string) error { return f.rt.FailSync(ctx, id, "no") }},
		"AwaitSync":    nil, // It reads memory.
		"Pause":        {running, func(f *fixture, id string) error { return f.rt.Pause(ctx, id, true) }},
		"Connect":      {paused, func(f *fixture, id string) error { _, _, err := f.rt.Connect(ctx, id, 2*time.Hour); return err }},
		"Reboot":       {paused, func(f *fixture, id string) error { _, _, err := f.rt.Reboot(ctx, id, 2*time.Hour); return err }},
		"Wake": {func(f *fixture) string { return f.paused(func(r *sandbox.CreateRequest) { r.AutoResume = true }) },
			func(f *fixture, id string) error { _, err := f.rt.Wake(ctx, id); return err }},
		"Kill":           {running, func(f *fixture, id string) error { return f.rt.Kill(ctx, id) }},
		"KillAll":        {running, func(f *fixture, _ string) error { return f.rt.KillAll(ctx, "test") }},
		"EndRunning":     {running, func(f *fixture, _ string) error { return f.rt.EndRunning(ctx, "test") }},
		"DeleteSnapshot": {snapshot, func(f *fixture, id string) error { return f.rt.DeleteSnapshot(ctx, id) }},
		"Snapshots":      {snapshot, func(f *fixture, _ string) error { _, err := f.rt.Snapshots(ctx, sandbox.SnapshotFilter{}); return err }},
		"Templates":      {nothing, func(f *fixture, _ string) error { _, err := f.rt.Templates(ctx); return err }},
		"Template":       {nothing, func(f *fixture, _ string) error { _, err := f.rt.Template(ctx, "base"); return err }},
		"Prepare": {func(f *fixture) string {
			f.setStamp("of a changed host")
			return ""
		}, func(f *fixture, _ string) error { return f.rt.Prepare(ctx) }},
		"BeginBuild": {nothing, func(f *fixture, _ string) error {
			_, err := f.rt.BeginBuild(ctx, sandbox.TemplateRequest{Name: "mine"})
			return err
		}},
		"StartBuild": {begun, func(f *fixture, id string) error {
			builds, err := f.rt.TemplateBuilds(ctx, id)
			if err == nil {
				err = f.rt.StartBuild(ctx, id, builds[0].ID, fromBase())
			}
			return err
		}},
		"GetBuild": {built, func(f *fixture, id string) error {
			builds, err := f.rt.TemplateBuilds(ctx, id)
			if err == nil {
				_, err = f.rt.GetBuild(ctx, id, builds[0].ID)
			}
			return err
		}},
		"BuildLogs": {built, func(f *fixture, id string) error {
			builds, err := f.rt.TemplateBuilds(ctx, id)
			if err == nil {
				_, err = f.rt.BuildLogs(ctx, id, builds[0].ID, 0, 10)
			}
			return err
		}},
		"TemplateBuilds": {built, func(f *fixture, id string) error { _, err := f.rt.TemplateBuilds(ctx, id); return err }},
		"BuildOrigin":    {built, func(f *fixture, id string) error { _, err := f.rt.BuildOrigin(ctx, id); return err }},
		"KeepBuild":      {built, func(f *fixture, _ string) error { return f.rt.KeepBuild(ctx, "mine") }},
		"KeepWarm":       {built, func(f *fixture, _ string) error { two := 2; return f.rt.KeepWarm(ctx, "mine", &two) }},
		"WarmTemplates":  {built, func(f *fixture, _ string) error { _, err := f.rt.WarmTemplates(ctx); return err }},
		"Tag":            {built, func(f *fixture, id string) error { _, err := f.rt.Tag(ctx, id, []string{"v1"}); return err }},
		"Untag": {func(f *fixture) string {
			id := built(f)
			if _, err := f.rt.Tag(ctx, id, []string{"v1"}); err != nil {
				f.t.Fatal(err)
			}
			return id
		}, func(f *fixture, id string) error { return f.rt.Untag(ctx, id, []string{"v1"}) }},
		"Tags":           {built, func(f *fixture, id string) error { _, err := f.rt.Tags(ctx, id); return err }},
		"SetPublic":      {built, func(f *fixture, id string) error { return f.rt.SetPublic(ctx, id, true) }},
		"DeleteTemplate": {built, func(f *fixture, id string) error { return f.rt.DeleteTemplate(ctx, id) }},
		"HasFiles":       {begun, func(f *fixture, id string) error { _, err := f.rt.HasFiles(ctx, id, someHash); return err }},
		"PutFiles": {begun, func(f *fixture, id string) error {
			return f.rt.PutFiles(ctx, id, someHash, strings.NewReader(strings.Repeat("x", 1<<20)))
		}},
		"RecoverBuilds": {begun, func(f *fixture, _ string) error { return f.rt.RecoverBuilds(ctx) }},
		"BaseSpec":      {nothing, func(f *fixture, _ string) error { _, err := f.rt.BaseSpec(ctx); return err }},
		"Killed":        {running, func(f *fixture, _ string) error { _, err := f.rt.Killed(ctx, 10); return err }},
		"Figures":       {running, func(f *fixture, _ string) error { _, err := f.rt.Figures(ctx); return err }},
		"Orphans":       {nothing, func(f *fixture, _ string) error { _, err := f.rt.Orphans(ctx); return err }},
		"Get":           nil, "Settled": nil, "List": nil, "CountRunning": nil, "NewestMetric": nil, "EachToken": nil, "Dial": nil, "Metrics": nil, // These read memory.
	}
}

// classes are the errors that the edge answers with a specific status.
var classes = []error{sandbox.ErrDiskFull, sandbox.ErrNotFound, sandbox.ErrTemplateNotFound, sandbox.ErrBuildNotFound, sandbox.ErrTagNotFound, sandbox.ErrSnapshotNotFound, sandbox.ErrInvalid, sandbox.ErrConflict,
	sandbox.ErrNotRunning, sandbox.ErrNotRestorable, sandbox.ErrPortClosed, sandbox.ErrCapacity, sandbox.ErrUnsupported, sandbox.ErrLacking, sandbox.ErrNoAnswer, sandbox.ErrOutOfMemory, sandbox.ErrUnavailable}

// Whatever the step at which the disk becomes full, a call that fails says so.
func TestEveryCallTellsThatTheDiskIsFull(t *testing.T) {
	calls := everyCall()
	methods := reflect.TypeFor[*Runtime]()
	fails := reflect.TypeFor[error]()
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		if n := m.Type.NumOut(); n == 0 || m.Type.Out(n-1) != fails {
			continue
		}
		if _, ok := calls[m.Name]; !ok {
			t.Errorf("%s can fail, and no case covers it", m.Name)
		}
	}
	told := 0
	for name, c := range calls {
		if c == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for full, more := 0, true; more; full++ {
				f, fill, _ := onSmallDisk(t)
				if _, err := f.rt.Create(context.Background(), request()); err != nil { // It has a base.
					t.Fatal(err)
				}
				id := c.ready(f)
				var at atomic.Int64 // Work of an earlier call may go on in the background.
				if full == 0 {
					fill()
				} else {
					f.failpoint(func(step.Step) error {
						if at.Add(1) == int64(full) {
							fill()
						}
						return nil
					})
				}
				err := c.work(f, id)
				f.failpoint(nil)
				more = full == 0 || at.Load() >= int64(full)
				if errors.Is(err, sandbox.ErrDiskFull) {
					told++
				}
				if errors.Is(err, store.ErrFull) && !errors.Is(err, sandbox.ErrDiskFull) || err != nil && !classified(err) {
					t.Errorf("full at step %d: %v", full, err)
				}
				f.rt.Close()
			}
		})
	}
	if told < 20 {
		t.Errorf("the full disk was reported only %d times", told)
	}
}

func classified(err error) bool {
	for _, class := range classes {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
