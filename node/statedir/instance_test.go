package statedir

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestEphemeralNamesAreWhatTheSweepLooksFor(t *testing.T) {
	a, b := NewEphemeral(), NewEphemeral()
	if ok, err := filepath.Match(ephemeralPrefix+"??????", a); !ok || err != nil || a == b {
		t.Errorf("%q and %q", a, b)
	}
	if l := dirs(t); strings.HasPrefix(l.Instance(), ephemeralPrefix) {
		t.Errorf("the daemon's own instance %q would be cleared away", l.Instance())
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	l := dirs(t)
	unlock, err := LockInstance(l, l.Instance())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockInstance(l, l.Instance()); err == nil || errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), l.StateDir) {
		t.Errorf("%v", err)
	}
	unlock()
	if unlock, err = LockInstance(l, l.Instance()); err != nil {
		t.Fatal(err)
	}
	unlock()
}
