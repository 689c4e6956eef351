package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// logged keeps log lines as "message id action".
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logged) WithGroup(string) slog.Handler            { return l }

func (l *logged) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// saying returns the lines with all of the texts.
func (l *logged) saying(texts ...string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			out = append(out, line)
		}
	}
	return out
}

func TestARestartRecoversThenCleansUpThenQuarantines(t *testing.T) {
	f := newFixture(t)
	log := &logged{}
	f.cfg.Log = slog.New(log)
	names := map[string]string{}
	made := func(name string, damage func(id string)) {
		id := f.create(long).ID
		names[id] = name
		damage(id)
	}
	// What is to be done last is made first, so that no other order is right by chance.
	for i := range 2 {
		made(fmt.Sprintf("quarantine%d", i), func(id string) {
			f.pause(id)
			snap := f.row(id).SnapshotID
			if err := f.cfg.Driver.(vm.SnapshotDeleter).DeleteSnapshot(context.Background(), id, snap); err != nil {
				t.Fatal(err)
			}
		})
		made(fmt.Sprintf("clean%d", i), func(id string) { setState(f, id, "creating") })
		made(fmt.Sprintf("recover%d", i), func(string) {})
	}
	f.rt.Close()
	if err := f.rt.machines.Mark("stray"); err != nil {
		t.Fatal(err)
	}
	if err := f.cfg.Driver.Create(context.Background(), "stray", vm.Spec{Rootfs: "/base"}); err != nil {
		t.Fatal(err)
	}
	f.open()

	var order []string
	for _, line := range log.saying("sandbox") {
		for id, name := range names {
			if strings.Contains(line, id) && (strings.HasPrefix(line, "recovering sandbox") || strings.HasPrefix(line, "sandbox quarantined")) {
				order = append(order, strings.TrimRight(name, "01"))
			}
		}
	}
	// Quarantined sandboxes are logged twice: as an error, and as recovering.
	want := []string{"recover", "recover", "clean", "clean", "quarantine", "quarantine", "quarantine", "quarantine"}
	if !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if got := f.rt.reconciled; got.Recovered != 2 || got.CleanedUp != 3 || got.Quarantined != 2 || got.Failed != 0 {
		t.Errorf("report %+v; the stray machine is the third that is cleaned up", got)
	}
	for id, name := range names {
		want := map[string]sandbox.State{"recover": "running", "clean": "killed", "quarantine": "paused"}[strings.TrimRight(name, "01")]
		if row := f.row(id); row.State != want {
			t.Errorf("%s: row %+v", name, row)
		}
	}
}

func TestARestartThatCannotEndAMachineNamesItAndHoldsUpNoOther(t *testing.T) {
	for name, left := range map[string]func(f *fixture) string{
		"of a sandbox": func(f *fixture) string {
			id := f.create(long).ID
			setState(f, id, "creating")
			return id
		},
		"without a row": func(f *fixture) string {
			if err := f.rt.machines.Mark("stray"); err != nil {
				f.t.Fatal(err)
			}
			if err := f.cfg.Driver.Create(context.Background(), "stray", vm.Spec{Rootfs: "/base"}); err != nil {
				f.t.Fatal(err)
			}
			return "stray"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				log := &logged{}
				f.cfg.Log = slog.New(log)
				kept := f.create(long).ID
				id := left(f)
				f.failNext("destroy", 2)
				f.restart()
				defer f.rt.Close()
				if got := f.rt.reconciled; got.Recovered != 1 || got.Failed != 1 {
					t.Errorf("report %+v", got)
				}
				if lines := log.saying("recovery incomplete", id, errInjected.Error()); len(lines) != 1 {
					t.Errorf("%s is not reported: %q", id, log.saying())
				}
				if row := f.row(kept); row.State != "running" {
					t.Errorf("row %+v", row)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if views, err := f.cfg.Driver.List(context.Background()); err != nil || len(views) != 1 || views[0].ID != kept {
					t.Errorf("after the retries: %+v, %v", views, err)
				}
			})
		})
	}
}
