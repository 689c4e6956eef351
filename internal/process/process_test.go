//go:build linux

package process

import (
	"errors"
	"os"
	"testing"
)

func TestProcessIdentity(t *testing.T) {
	_, start, err := State(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(os.Getpid(), start)
	if err != nil {
		t.Fatal(err)
	}
	p.Release()
	if _, err := Open(os.Getpid(), start+1); !errors.Is(err, ErrGone) {
		t.Errorf("another start time: %v", err)
	}
}
