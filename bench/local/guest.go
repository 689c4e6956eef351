package local

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/vm"
)

// driverGuest is a machine of the driver alone. It is used by one goroutine.
type driverGuest struct {
	g     mechanism
	id    string
	slot  slot
	saved vm.SnapshotRef // while it is paused
}

func newGuestID() string { return fmt.Sprintf("bench-%d", time.Now().UnixNano()) }

// Restore implements bench.Mechanism.
func (g mechanism) Restore(ctx context.Context) (bench.Guest, time.Duration, error) {
	return g.guest(ctx, g.spec.RestoreFrom)
}

// Boot implements bench.Mechanism.
func (g mechanism) Boot(ctx context.Context) (bench.Guest, time.Duration, error) {
	return g.guest(ctx, nil)
}

func (g mechanism) guest(ctx context.Context, from *vm.SnapshotRef) (bench.Guest, time.Duration, error) {
	m := &driverGuest{g: g}
	took, err := m.start(ctx, from)
	if err != nil {
		return nil, 0, err
	}
	return m, took, nil
}

// start makes the machine and waits for its agent.
func (m *driverGuest) start(ctx context.Context, from *vm.SnapshotRef) (took time.Duration, err error) {
	if m.slot, err = m.g.place(ctx, from); err != nil {
		return 0, err
	}
	m.id = newGuestID()
	begin := time.Now()
	if err := m.g.driver.Create(ctx, m.id, m.slot.spec); err != nil {
		m.slot.free()
		return 0, err
	}
	if from == nil {
		err = m.g.driver.Start(ctx, m.id)
	}
	if err == nil {
		err = answers(ctx, m.slot.agent)
	}
	took = time.Since(begin)
	if err != nil {
		_, undo := m.Destroy(context.WithoutCancel(ctx))
		return 0, errors.Join(err, undo)
	}
	return took, nil
}

// Exec implements bench.Guest.
func (m *driverGuest) Exec(ctx context.Context, stdin []byte, args ...string) (first, end time.Duration, err error) {
	return m.g.Exec(ctx, m.id, stdin, args...)
}

// Processes implements bench.Guest.
func (m *driverGuest) Processes() ([]int, error) { return m.g.Processes(m.id) }

// Destroy implements bench.Machine.
func (m *driverGuest) Destroy(ctx context.Context) (time.Duration, error) {
	if m.saved.SnapshotID != "" {
		return 0, m.drop(ctx)
	}
	return machine{func(ctx context.Context) error { return m.g.driver.Destroy(ctx, m.id) }, m.slot.free}.Destroy(ctx)
}

const guestSnapshot = "bench"

// Save implements bench.Guest.
func (m *driverGuest) Save(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	if err := m.g.driver.Snapshot(ctx, m.id, guestSnapshot); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	return took, m.g.driver.DeleteSnapshot(ctx, m.id, guestSnapshot)
}

// Pause implements bench.Guest.
func (m *driverGuest) Pause(ctx context.Context, memory bool) (time.Duration, error) {
	save := m.g.driver.Snapshot
	if !memory {
		save = m.g.driver.SnapshotFilesystem
	}
	begin := time.Now()
	if err := m.g.driver.Stop(ctx, m.id); err != nil {
		return 0, err
	}
	if err := save(ctx, m.id, guestSnapshot); err != nil {
		return 0, err
	}
	if err := m.g.driver.Destroy(ctx, m.id); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	m.slot.free()
	m.saved = vm.SnapshotRef{VMID: m.id, SnapshotID: guestSnapshot, ResumeImmediately: true}
	return took, nil
}

// Resume implements bench.Guest.
func (m *driverGuest) Resume(ctx context.Context) (time.Duration, error) {
	from := m.saved
	took, err := m.start(ctx, &from)
	if err != nil {
		return 0, err
	}
	return took, m.drop(ctx)
}

// drop removes what the machine was paused to.
func (m *driverGuest) drop(ctx context.Context) error {
	from := m.saved
	m.saved = vm.SnapshotRef{}
	return m.g.driver.DeleteSnapshot(ctx, from.VMID, from.SnapshotID)
}

// Fork implements bench.Guest.
func (m *driverGuest) Fork(ctx context.Context, n int) (children []bench.Guest, done []time.Duration, err error) {
	begin := time.Now()
	if err := m.g.driver.Snapshot(ctx, m.id, guestSnapshot); err != nil {
		return nil, nil, err
	}
	from := vm.SnapshotRef{VMID: m.id, SnapshotID: guestSnapshot, ResumeImmediately: true}
	var mu sync.Mutex
	var wg sync.WaitGroup
	turn := make(chan struct{}, runtime.NumCPU())
	for range n {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			child, _, failed := m.g.guest(ctx, &from)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = errors.Join(err, failed)
				return
			}
			children, done = append(children, child), append(done, time.Since(begin))
		})
	}
	wg.Wait()
	return children, done, errors.Join(err, m.g.driver.DeleteSnapshot(ctx, from.VMID, from.SnapshotID))
}
