package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
)

// recordingTracer notes stages as "parent/stage", with "!" if they failed, in
// the order in which they end.
type recordingTracer struct {
	mu    sync.Mutex
	open  int
	ended []string
	attrs map[string]string // of the last stage that has some
}

type stageKey struct{}

func (r *recordingTracer) Start(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(error)) {
	path := name
	if parent, ok := ctx.Value(stageKey{}).(string); ok {
		path = parent + "/" + name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
	if len(attrs) > 0 {
		r.attrs = map[string]string{}
	}
	for _, a := range attrs {
		r.attrs[a.Key] = a.Value.String()
	}
	return context.WithValue(ctx, stageKey{}, path), func(err error) {
		if err != nil {
			path += "!"
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
		r.ended = append(r.ended, path)
	}
}

// seen returns the stages that ended, and how many have not.
func (r *recordingTracer) seen() (ended []string, open int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ended), r.open
}

func (r *recordingTracer) attr(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attrs[name]
}

func (r *recordingTracer) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = nil
}

func traced(t *testing.T) (*fixture, *recordingTracer) {
	t.Helper()
	f := newFixture(t)
	r := &recordingTracer{}
	f.cfg.Tracer = r
	f.cfg.MaxPending = -1 // no waiters
	f.restart()
	if err := f.rt.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.forget()
	return f, r
}

func TestEveryStageOfACreateIsTraced(t *testing.T) {
	f, r := traced(t)
	sb := f.create()
	want := []string{
		"create/create_admit", "create/create_store", "create/warm_snapshot_restore/create_slot",
		"create/warm_snapshot_restore", "create/ready_probe", "create/create_store", "create/create_expose", "create",
	}
	if ended, open := r.seen(); !slices.Equal(ended, want) || open != 0 {
		t.Errorf("stages %q, %d open", ended, open)
	}
	if id, template := r.attr("sandbox"), r.attr("template"); id != sb.ID || template != sb.TemplateID {
		t.Errorf("attributes: sandbox %q, template %q", id, template)
	}
	for name, n := range map[string]int{
		latency.CreateAdmit: 1, latency.CreateSlot: 1, latency.WarmSnapshotRestore: 1, latency.ReadyProbe: 1,
		latency.CreateStore: 2, latency.CreateExpose: 1,
	} {
		if got := samples(f, name); got != n {
			t.Errorf("%d samples of %s, want %d", got, name, n)
		}
	}
}

func TestAFailedStageHasNoSample(t *testing.T) {
	for step, c := range map[string]struct {
		failed []string
		none   []string
	}{
		"acquire": {[]string{"create/warm_snapshot_restore/create_slot!", "create/warm_snapshot_restore!", "create!"},
			[]string{latency.CreateSlot, latency.WarmSnapshotRestore, latency.ReadyProbe, latency.CreateExpose}},
		"create": {[]string{"create/warm_snapshot_restore!", "create!"},
			[]string{latency.WarmSnapshotRestore, latency.ReadyProbe, latency.CreateExpose}},
		"init": {[]string{"create/ready_probe!", "create!"},
			[]string{latency.ReadyProbe, latency.CreateExpose}},
	} {
		t.Run(step, func(t *testing.T) {
			f, r := traced(t)
			f.failNext(step, 1)
			if _, err := f.rt.Create(context.Background(), request()); err == nil {
				t.Fatal("no error")
			}
			var failed []string
			ended, open := r.seen()
			for _, path := range ended {
				if path[len(path)-1] == '!' {
					failed = append(failed, path)
				}
			}
			if !slices.Equal(failed, c.failed) || open != 0 {
				t.Errorf("failed %q of %q, %d open", failed, ended, open)
			}
			for _, name := range c.none {
				if n := samples(f, name); n != 0 {
					t.Errorf("%d samples of %s", n, name)
				}
			}
		})
	}
}

func TestARefusedAdmissionHasNoSample(t *testing.T) {
	f, r := traced(t)
	for range f.cfg.Capacity.Sandboxes {
		f.create()
	}
	before := samples(f, latency.CreateAdmit)
	if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, sandbox.ErrCapacity) {
		t.Fatal(err)
	}
	if after := samples(f, latency.CreateAdmit); after != before || before == 0 {
		t.Errorf("%d samples before, %d after", before, after)
	}
	ended, _ := r.seen()
	if last := fmt.Sprint(ended[len(ended)-2:]); last != "[create/create_admit! create!]" {
		t.Errorf("ended with %s", last)
	}
}

func TestEveryStageOfTheOtherCallsIsTraced(t *testing.T) {
	f, r := traced(t)
	sb := f.create()
	call := func(name string, do func(), want ...string) {
		t.Helper()
		r.forget()
		before := samples(f, name)
		do()
		if ended, open := r.seen(); !slices.Equal(ended, want) || open != 0 {
			t.Errorf("%s: stages %q, %d open", name, ended, open)
		}
		if got := samples(f, name) - before; got != 1 {
			t.Errorf("%s: %d samples", name, got)
		}
	}
	call(latency.Pause, func() { f.pause(sb.ID) }, "pause/snapshot_save", "pause")
	call(latency.Resume, func() { f.resume(sb.ID) },
		"resume/create_admit", "resume/warm_snapshot_restore/create_slot", "resume/warm_snapshot_restore", "resume/ready_probe",
		"resume/create_store", "resume")
	call(latency.SnapshotSave, func() {
		if _, err := f.rt.Snapshot(context.Background(), sb.ID, "", ""); err != nil {
			t.Fatal(err)
		}
	}, "snapshot_save")
	call(latency.Fork, func() {
		if _, err := f.rt.Fork(context.Background(), sb.ID, sandbox.ForkRequest{Count: 1, Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}, "snapshot_save", "fork/create/create_admit", "fork/create/create_store", "fork/create/warm_snapshot_restore/create_slot",
		"fork/create/warm_snapshot_restore", "fork/create/ready_probe", "fork/create/create_store", "fork/create/create_expose",
		"fork/create", "fork")
	call(latency.KillDelete, func() {
		if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
			t.Fatal(err)
		}
	}, "kill_delete")
}

func TestAForkWithoutAllItsChildrenHasNoSample(t *testing.T) {
	f, r := traced(t)
	sb := f.create()
	f.failNext("init", 1)
	results, err := f.rt.Fork(context.Background(), sb.ID, sandbox.ForkRequest{Count: 2, Timeout: time.Minute})
	if err != nil || (results[0].Err == nil) == (results[1].Err == nil) {
		t.Fatalf("%+v, %v", results, err)
	}
	if ended, _ := r.seen(); samples(f, latency.Fork) != 0 || ended[len(ended)-1] != "fork!" {
		t.Errorf("%d samples, %q", samples(f, latency.Fork), ended)
	}
}

func TestAPauseThatFailsHasNoSample(t *testing.T) {
	f, r := traced(t)
	sb := f.create()
	r.forget()
	before := samples(f, latency.SnapshotSave) // of the base
	f.failNext("snapshot", 1)
	if err := f.rt.Pause(context.Background(), sb.ID, true); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	if ended, _ := r.seen(); !slices.Equal(ended, []string{"pause/snapshot_save!", "pause!"}) {
		t.Errorf("stages %q", ended)
	}
	if n := samples(f, latency.Pause) + samples(f, latency.SnapshotSave) - before; n != 0 {
		t.Errorf("%d samples", n)
	}
}
