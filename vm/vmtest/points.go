package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Points are places in the middle of a driver's calls where a case holds them or makes them fail: the hooks Hold and Fail of a Harness. The zero
// value has none. Safe for concurrent use.
type Points struct {
	mu   sync.Mutex
	hold map[string]func()
	fail map[string]error
}

// Reach is for the driver, in the middle of op on id. It returns the error with which the call fails.
func (p *Points) Reach(op, id string) error {
	p.mu.Lock()
	hold, err := p.hold[op+" "+id], p.fail[op+" "+id]
	delete(p.hold, op+" "+id)
	delete(p.fail, op+" "+id)
	p.mu.Unlock()
	if hold != nil {
		hold()
	}
	return err
}

// At runs f at the next op on id, unless it is forgotten before.
func (p *Points) At(op, id string, f func()) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold == nil {
		p.hold = map[string]func(){}
	}
	p.hold[op+" "+id] = f
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.hold, op+" "+id)
	}
}

// Hold is Harness.Hold.
func (p *Points) Hold(op, id string) (entered <-chan struct{}, release func()) {
	in, out := make(chan struct{}), make(chan struct{})
	p.At(op, id, func() { close(in); <-out })
	return in, sync.OnceFunc(func() { close(out) })
}

// Fail makes the next op on id fail as a broken disk does.
func (p *Points) Fail(op, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail == nil {
		p.fail = map[string]error{}
	}
	p.fail[op+" "+id] = syscall.EIO
}

// Freeze stops a process until thaw is called, which may be more than once.
func Freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	process, err := os.FindProcess(pid) // Held by a descriptor, where the kernel has those.
	if err == nil {
		err = process.Signal(syscall.SIGSTOP)
	}
	if err != nil {
		t.Error(err)
		return func() {}
	}
	// The threads stop one after the other.
	for deadline := time.Now().Add(time.Minute); !frozen(pid); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("process %d does not stop", pid)
			break
		}
	}
	return sync.OnceFunc(func() {
		_ = process.Signal(syscall.SIGCONT) // It may have been killed.
		_ = process.Release()
	})
}

// frozen reports whether all threads of a process are.
func frozen(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		data, err := os.ReadFile(thread)
		if err == nil && !strings.HasPrefix(string(data[strings.LastIndexByte(string(data), ')')+1:]), " T") {
			return false
		}
	}
	return true
}
