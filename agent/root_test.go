//go:build linux

package agent_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/envd"
)

// proc gives a guest the files of /proc that the agent reads.
func proc(t *testing.T, g *guest) {
	t.Helper()
	dir := filepath.Join(g.root, "proc/self")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "mountinfo"), []byte("1 0 0:1 / / rw - o n rw\n2 1 0:2 / /proc rw - o n rw\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// The state of a root, and what an image of it cannot have, go through the host.
func TestTheHostMovesARoot(t *testing.T) {
	from, to := copyGuest(t), copyGuest(t)
	for _, g := range []*guest{from, to} {
		proc(t, g)
		g.write(t, "f", "content")
	}
	exact := time.Unix(1_600_000_000, 5)
	if err := errors.Join(unix.Mkfifo(filepath.Join(from.root, "pipe\xff"), 0o640), os.Chtimes(filepath.Join(from.root, "f"), exact, exact)); err != nil {
		t.Fatal(err)
	}
	state, err := envd.Root(t.Context(), from.dial, "c", 0)
	if err != nil || len(state.Lost) > 0 || len(state.Extras) != 1 || string(state.Extras[0].Path) != "/pipe\xff" || state.LargestBytes < 7 {
		t.Fatalf("%+v, %v", state, err)
	}
	var times bytes.Buffer
	if err := envd.RootTimes(t.Context(), from.dial, "c", &times); err != nil || !strings.Contains(times.String(), "/f\x00") {
		t.Errorf("%q, %v", times.String(), err)
	}
	if err := envd.RestoreExtras(t.Context(), to.dial, "c", state.Extras); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(to.root, "pipe\xff")); err != nil || info.Mode() != os.ModeNamedPipe|0o640 {
		t.Errorf("%v, %v", info, err)
	}
	var refused *envd.StatusError
	if err := envd.RestoreExtras(t.Context(), to.dial, "c", []envd.Extra{{Path: []byte("/none/p"), Mode: unix.S_IFIFO}}); !errors.As(err, &refused) || refused.Status != 500 {
		t.Errorf("what cannot be made: %v", err)
	}
}

func TestARootIsForTheHostAlone(t *testing.T) {
	g := copyGuest(t)
	proc(t, g)
	if _, err := envd.Root(t.Context(), g.dial, "other", 0); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("its state: %v", err)
	}
	if err := envd.RootTimes(t.Context(), g.dial, "other", io.Discard); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("its times: %v", err)
	}
	if err := envd.RestoreExtras(t.Context(), g.dial, "other", nil); !errors.Is(err, envd.ErrUnauthorized) {
		t.Errorf("its extras: %v", err)
	}
	if err := envd.RestoreExtras(t.Context(), g.dial, "c", []envd.Extra{{Attributes: map[string][]byte{"user.a": make([]byte, 3<<20)}}}); err == nil {
		t.Error("a request of any size is read")
	}
	// Of a root that cannot be read.
	if err := os.Remove(filepath.Join(g.root, "proc/self/mountinfo")); err != nil {
		t.Fatal(err)
	}
	if err := envd.RootTimes(t.Context(), g.dial, "c", io.Discard); err == nil {
		t.Error("times that break off are taken for all")
	}
}
