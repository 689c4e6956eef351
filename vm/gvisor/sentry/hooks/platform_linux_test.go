package hooks

import (
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/platform"
	_ "gvisor.dev/gvisor/pkg/sentry/platform/platforms" // Registers systrap.
)

// still is a context of a platform that does nothing for a program that is exchanged.
type still struct{ platform.Context }

func (still) PrepareExecve()    {}
func (still) FullStateChanged() {}

// gVisor changes the whole state of a task in other places too, with locks held.
func TestExecutedComesAfterAnExecveOnly(t *testing.T) {
	calls := 0
	c := &hookedContext{Context: still{}, task: new(kernel.Task), hooks: Hooks{Executed: func(*kernel.Task) { calls++ }}}
	c.FullStateChanged()
	if calls != 0 {
		t.Error("it came without an execve")
	}
	c.PrepareExecve()
	c.FullStateChanged()
	c.FullStateChanged()
	if calls != 1 {
		t.Errorf("after an execve it came %d times", calls)
	}
}

func TestInstallTakesThePlaceOfSystrap(t *testing.T) {
	if err := Install(Hooks{}); err != nil {
		t.Fatal(err)
	}
	if p, err := platform.Lookup("systrap"); err != nil {
		t.Fatal(err)
	} else if _, ok := p.(hookedConstructor); !ok {
		t.Errorf("systrap is a %T", p)
	}
}
