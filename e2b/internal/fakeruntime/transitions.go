package fakeruntime

import (
	"context"
	"slices"
	"sync"
)

// Transitions controls the pauses and resumes of a Runtime, and counts them. It is safe
// for concurrent use. Its lock may be taken while that of the Runtime is held, never the
// other way round.
type Transitions struct {
	mu       sync.Mutex
	resumes  int           // guarded by mu
	reboots  []string      // guarded by mu
	held     chan struct{} // closed when what is held may end; guarded by mu
	failWith error         // guarded by mu
	waiting  int           // guarded by mu
	changed  *sync.Cond    // of waiting
}

// Hold makes pauses and resumes take until release is called.
func (t *Transitions) Hold() (release func()) {
	held := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = held
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.held = nil
		close(held)
	})
}

// FailResumes makes every resume from now on fail with err; nil ends that.
func (t *Transitions) FailResumes(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failWith = err
}

// Resumes counts the resumes that were begun.
func (t *Transitions) Resumes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.resumes
}

// Reboots are the sandboxes that Reboot was called for.
func (t *Transitions) Reboots() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.reboots)
}

// AwaitWaiting returns when n calls wait for pauses and resumes.
func (t *Transitions) AwaitWaiting(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.waiting != n {
		t.cond().Wait()
	}
}

// cond returns changed. The caller holds mu.
func (t *Transitions) cond() *sync.Cond {
	if t.changed == nil {
		t.changed = sync.NewCond(&t.mu)
	}
	return t.changed
}

// count adds n to the calls that wait.
func (t *Transitions) count(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting += n
	t.cond().Broadcast()
}

// await waits for ch, if it is not nil, as one of the calls that AwaitWaiting sees. The
// caller holds the lock of the Runtime, which is free meanwhile.
func (t *Transitions) await(ctx context.Context, runtime sync.Locker, ch <-chan struct{}) error {
	if ch == nil {
		return nil
	}
	t.count(1)
	runtime.Unlock()
	defer func() {
		runtime.Lock()
		t.count(-1)
	}()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginPause returns what holds a pause; nil if nothing does.
func (t *Transitions) beginPause() (held <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.held
}

// beginResume counts a resume, and returns what holds it; nil if nothing does.
func (t *Transitions) beginResume() (held <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resumes++
	return t.held
}

// failure returns the error that resumes fail with.
func (t *Transitions) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failWith
}

// beginReboot notes a sandbox that is to boot.
func (t *Transitions) beginReboot(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reboots = append(t.reboots, id)
}
