package vmtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// ended returns a context that has ended.
func (e *env) ended() context.Context {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	return ctx
}

// holding runs do, which makes the call op on id, and while that call waits
// half-way, during. It returns do's error.
func (e *env) holding(op, id string, do func() error, during func()) error {
	e.Helper()
	entered, release := e.h.Hold(e.T, e.d, op, id)
	defer release()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case <-entered:
	case err := <-done:
		e.Fatalf("%s %s returned %v before it got half-way", op, id, err)
	case <-e.ctx.Done():
		e.Fatalf("%s %s never got half-way", op, id)
	}
	// A driver that makes during wait for the held call must not hang the suite.
	stop := context.AfterFunc(e.ctx, release)
	during()
	if !stop() {
		e.Fatalf("something had to wait for %s %s", op, id)
	}
	release()
	select {
	case err := <-done:
		return err
	case <-e.ctx.Done():
		e.Fatalf("%s %s never returned", op, id)
		return nil
	}
}

// held is holding for a call that must succeed.
func (e *env) held(op, id string, do func() error, during func()) {
	e.Helper()
	e.ok(e.holding(op, id, do, during))
}

// eventually repeats check until it is content.
func (e *env) eventually(check func() error) {
	e.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			e.Fatalf("in %v: %v", e.h.Limits.Case, err)
		}
	}
}

// kill ends the machine's processes and waits until the driver reports it.
func (e *env) kill(id string) vm.View {
	e.Helper()
	e.h.Kill(e.T, e.d, id)
	var v vm.View
	e.eventually(func() error {
		v = e.view(id)
		if v.Status != vm.StatusStopped || v.ExitReason == "" {
			return fmt.Errorf("killed machine is %s, reason %q", v.Status, v.ExitReason)
		}
		return nil
	})
	return v
}

// race runs n calls at once and returns their errors.
func race(n int, do func(i int) error) []error {
	errs := make([]error, n)
	start, done := make(chan struct{}), make(chan struct{}, n)
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			<-start
			errs[i] = do(i)
		}()
	}
	close(start)
	for range n {
		<-done
	}
	return errs
}

func wantTail(lines []string, want ...string) error {
	got := lines[max(0, len(lines)-len(want)):]
	if !slices.Equal(got, want) {
		return fmt.Errorf("console ends with %q, want %q", got, want)
	}
	return nil
}
