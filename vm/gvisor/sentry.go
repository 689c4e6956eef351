//go:build linux

package gvisor

import (
	"os"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
)

// sentryState is the state that a sentry reports.
type sentryState struct {
	// request is one that the sentry has been sent and that may change the rest:
	// a daemon that died does not take back what it asked for. Empty if there is
	// none.
	request string
	// started says that the guest has threads; frozen, that none of them may run.
	started, frozen bool
	// changing says that the threads are on their way into or out of that.
	changing bool
}

// askInterval is how often a sentry that has something to do is asked again.
const askInterval = 20 * time.Millisecond

// readStacks finds out what a sentry does from the stacks of its goroutines. No
// request of gVisor's distinguishes a frozen guest from a running one, and a resume of
// one that runs ends it; the stacks also show the requests of an earlier daemon.
func readStacks(stacks string) sentryState {
	var s sentryState
	threads, stopped, changing := 0, 0, false
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		switch {
		case strings.Contains(stack, "/kernel.(*Task).Start in goroutine"):
			threads++ // One that has not run yet has no other mark than who made it.
			if strings.Contains(stack, "/kernel.(*Task).doStop(") {
				stopped++
				// It waits there, or is about to, or was resumed.
				head, _, _ := strings.Cut(stack, "\n")
				changing = changing || !strings.Contains(head, "[sync.Cond.Wait")
			}
		case strings.Contains(stack, "/urpc.(*Server).StartHandling"):
			if name := requestOf(stack); changes[name] {
				s.request = name
			}
		}
	}
	s.started = threads > 0
	s.frozen = s.started && stopped == threads
	s.changing = s.frozen && changing
	return s
}

// unread is a request that is still being read, which may be any.
const unread = "unread"

// changes are the requests after which a guest may be in another state.
var changes = map[string]bool{unread: true, "Pause": true, "Resume": true, "Checkpoint": true, "FSSave": true,
	"Restore": true, "StartRoot": true}

// requestOf returns the name of the request that a goroutine of the sentry's
// server executes.
func requestOf(stack string) string {
	for _, receiver := range []string{"/boot.(*containerManager).", "/boot.(*debug)."} {
		// The outermost of its methods is the request.
		if i := strings.LastIndex(stack, receiver); i >= 0 {
			name, _, _ := strings.Cut(stack[i+len(receiver):], "(")
			return name
		}
	}
	return unread
}

// ask returns what the sentry says when all that it was asked before has had its
// effect. It returns early only if the machine ends or is released.
func (m *machine) ask() (sentryState, error) {
	tick := time.NewTicker(askInterval)
	defer tick.Stop()
	for {
		stacks, err := m.calls.Stacks()
		if err != nil {
			return sentryState{}, err
		}
		if s := readStacks(stacks); s.request == "" && !s.changing {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-m.sandbox.Joined:
			return sentryState{}, process.ErrGone
		}
	}
}

// settle makes the status of a machine what its sentry says that it is, and is
// for the holder of the turn. Nothing else is believed about a machine that was
// adopted, or after a request that failed.
func (w records) settle(m *machine) error {
	s, err := m.ask()
	if err != nil {
		return err
	}
	m.unsure = false
	switch _, was, _ := w.machines.State(m); {
	case s.frozen:
		m.loaded()
		w.settled(m, vm.StatusStopped, runscPaused)
	case s.started:
		m.loaded()
		w.settled(m, vm.StatusRunning, runscRunning)
	case m.pending != "":
		w.settled(m, vm.StatusStopped, runscCreated)
	case was == vm.StatusRunning || was == vm.StatusStopped:
		// Its guest has ended, and the sandbox process is about to.
	case m.resume:
		return errIncomplete
	default:
		w.settled(m, vm.StatusCreated, runscCreated)
	}
	return nil
}

// loaded drops the images of a machine that does not need them any more.
func (m *machine) loaded() {
	if m.pending != "" {
		_ = os.RemoveAll(m.pending)
		m.pending, m.cold = "", false
	}
}

var errIncomplete = lostError("its creation was not complete")
