//go:build linux

package driver

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/process/processtest"
)

// A process whose start was not recorded is found by its argument, and ended with its machine.
func TestAProcessWithoutARecordIsEnded(t *testing.T) {
	o, ctx := options(t), t.Context()
	d := open(t, o)
	d.HalfWay = func(op, _ string) error { return errors.New("no " + op) }
	if err := d.Create(ctx, "a", image(t)); err == nil || !strings.Contains(err.Error(), "no create") {
		t.Fatal(err)
	}
	const key = "00112233445566aa"
	p, err := idle(d.dirs.machine(key))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	text := fmt.Sprintf(`{"format": 1, "id": "a", "boot_id": %q, "spec": {}, "limits": {}, "uid": 60000}`, d.boot)
	if err := os.WriteFile(d.dirs.record(key), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	views, lost, err := d.Adopt(ctx)
	if err != nil || len(views) > 0 || len(lost) != 1 || lost["a"] == "" {
		t.Fatalf("adopted %v, lost %v, error %v", views, lost, err)
	}
	select {
	case <-p.Ended:
	case <-time.After(10 * time.Second):
		t.Error("it lives")
		_ = p.Kill()
	}
}

// A machine whose process cannot be looked for leaves its files, by which the next Adopt finds it: an unknown process would run forever.
func TestFilesStayWhereAProcessMayLive(t *testing.T) {
	d := open(t, options(t))
	const key = "00112233445566aa"
	p, err := idle(d.dirs.machine(key))
	if err := errors.Join(err, os.Mkdir(d.dirs.machine(key), 0o700), os.WriteFile(d.dirs.record(key), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	processtest.WithDescriptors(t, 0, func() { d.clean(key, record{}) })
	for _, file := range []string{d.dirs.machine(key), d.dirs.record(key)} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := d.Adopt(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case <-p.Ended:
	case <-time.After(10 * time.Second):
		t.Error("it lives")
		_ = p.Kill()
	}
	for _, file := range []string{d.dirs.machine(key), d.dirs.record(key)} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
}
