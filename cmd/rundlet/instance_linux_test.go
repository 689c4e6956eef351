package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a living process owns is not cleared away, nor is anything that is not
// a run directory of "rundlet run".
func TestSweepLeavesTheLivingAlone(t *testing.T) {
	l := home(t)
	if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	id := newEphemeral()
	unlock, err := lockInstance(l, id)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, name := range []string{id + "/net", "dabcdef", "x12345", "x1234567", "other"} {
		if err := os.MkdirAll(filepath.Join(l.RunDir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := names(t, l.RunDir)
	var log strings.Builder
	sweepEphemeral(t.Context(), l, nodeOptions{log: slog.New(slog.NewTextHandler(&log, nil))})
	if after := names(t, l.RunDir); after != before || !strings.Contains(after, id) {
		t.Errorf("before %s, after %s", before, after)
	}
	if _, err := os.Stat(filepath.Join(l.RunDir, id, "net")); err != nil || log.Len() > 0 {
		t.Errorf("%v, log %s", err, log.String())
	}
}

func TestEphemeralNamesAreWhatTheSweepLooksFor(t *testing.T) {
	a, b := newEphemeral(), newEphemeral()
	if ok, err := filepath.Match(ephemeralPrefix+"??????", a); !ok || err != nil || a == b {
		t.Errorf("%q and %q", a, b)
	}
	if l := home(t); strings.HasPrefix(l.Instance(), ephemeralPrefix) {
		t.Errorf("the daemon's own instance %q would be cleared away", l.Instance())
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	l := home(t)
	unlock, err := lockInstance(l, l.Instance())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockInstance(l, l.Instance()); err == nil || errors.Is(err, errLocked) || !strings.Contains(err.Error(), l.StateDir) {
		t.Errorf("%v", err)
	}
	unlock()
	if unlock, err = lockInstance(l, l.Instance()); err != nil {
		t.Fatal(err)
	}
	unlock()
}
