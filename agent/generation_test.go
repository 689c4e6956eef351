//go:build linux

package agent_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/rundlet/rundlet/envd"
)

func TestTheGenerationChangesWithEachRestoreOnly(t *testing.T) {
	g := newGuest(t)
	dir := g.root + "/run/rundlet"
	generation := func() string {
		t.Helper()
		text, err := os.ReadFile(dir + "/generation")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	seen := generation()
	g.init(t, first)
	g.init(t, envd.InitRequest{ControlToken: "c1", AccessToken: "a1"})
	if now := generation(); now != seen {
		t.Errorf("the generation changed from %q to %q without a restore", seen, now)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(dir); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{seen: true}
	for i := range 3 {
		next := envd.InitRequest{CurrentToken: "c1", SandboxID: "same", Restored: true}
		g.init(t, next)
		now := generation()
		if all[now] || len(now) < 17 || !strings.HasSuffix(now, "\n") {
			t.Errorf("restore %d: the generation is %q, after %v", i, now, all)
		}
		all[now] = true
		for ev := range w.Events {
			if ev.Name == dir+"/generation" && ev.Has(fsnotify.Create) {
				break // by the rename: a watch has what it needs
			}
		}
	}
}

func TestHooksDoNotDelayInit(t *testing.T) {
	g := newGuest(t)
	g.init(t, first)
	began := t.TempDir() + "/began"
	g.write(t, "etc/rundlet/restored.d/10-slow", "#!/bin/sh\necho > "+began+"\nexec sleep 600\n")
	if err := os.Chmod(g.root+"/etc/rundlet/restored.d/10-slow", 0o755); err != nil {
		t.Fatal(err)
	}
	g.init(t, second) // returns although the hook does not
	eventually(t, "the hook", func() bool { _, err := os.Stat(began); return err == nil })
	// The end of the agent ends the hook: newGuest fails if that hangs.
}

func TestInitIsNotHeldUpByHalfARequest(t *testing.T) {
	g := newGuest(t)
	half, err := g.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	fmt.Fprint(half, "POST /init HTTP/1.1\r\nHost: agent\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	// Its handler has begun to read the body when it asks for it.
	if line, err := bufio.NewReader(half).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q %v", line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := envd.Init(ctx, g.dial, first); err != nil {
		t.Error(err)
	}
}

func TestTheClockIsSetOnlyWhenItIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		host time.Duration // the host's time, relative to the guest's
		set  bool
	}{
		"right":         {0, false},
		"a little off":  {30 * time.Millisecond, false},
		"ahead":         {-2 * time.Second, false},
		"behind":        {5 * time.Second, true},
		"far ahead":     {-time.Minute, true},
		"years behind":  {10 * 365 * 24 * time.Hour, true},
		"not mentioned": {1 << 62, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			req := first
			if tc.host != 1<<62 {
				req.Timestamp = time.Now().Add(tc.host)
			}
			g.init(t, req)
			if set := !g.kernel.clock.IsZero(); set != tc.set {
				t.Errorf("the clock was set: %v, want %v", set, tc.set)
			} else if set && !g.kernel.clock.Equal(req.Timestamp) {
				t.Errorf("the clock was set to %v, want %v", g.kernel.clock, req.Timestamp)
			}
		})
	}
}

func TestBootID(t *testing.T) {
	const id = "0b9a2c44-3f0e-4c3c-9d8e-1f2a3b4c5d6e"
	g := newGuest(t)
	for _, bad := range []string{"x", strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), id + "\n"} {
		req := first
		req.BootID = bad
		var status *envd.StatusError
		if err := envd.Init(t.Context(), g.dial, req); !errors.As(err, &status) || status.Status != 400 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	g.init(t, first)
	if g.kernel.bootID != "" {
		t.Error("the boot id changed without a request")
	}
	g.init(t, envd.InitRequest{ControlToken: "c1", BootID: id})
	if g.kernel.bootID != id {
		t.Errorf("boot id %q", g.kernel.bootID)
	}
}
