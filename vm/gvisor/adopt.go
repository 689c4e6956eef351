//go:build linux

package gvisor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/internal/format"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

// answerTime is how long Adopt waits for a sentry to answer, and adoptions how
// many it asks at once.
const (
	answerTime = 3 * time.Second
	adoptions  = 32
)

// lostError is proof that a machine is gone, and why. Nothing else is a reason to
// give one up.
type lostError string

func (e lostError) Error() string { return string(e) }

// adoption is a machine that was found on the host, and its outcome.
type adoption struct {
	r   record
	m   *machine
	err error
}

// Adopt implements vm.Adopter. It fails, and leaves alone the machines that it
// did not adopt, if it cannot find out whether a machine is gone.
func (d *Driver) Adopt(ctx context.Context) (adopted []vm.View, lost map[string]string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, failure("adopt", "", nil, err)
	}
	entries, err := os.ReadDir(d.dirs.Machines())
	if err != nil {
		return nil, nil, failure("adopt", "", nil, err)
	}
	lost = map[string]string{}
	var dead []string // Keys.
	var found []*adoption
	keys := d.machines.Keys()
	for _, entry := range entries {
		key, isRecord := strings.CutSuffix(entry.Name(), ".json")
		if !isRecord || keys[key] {
			continue
		}
		keys[key] = true
		r, err := readRecord(d.dirs.Record(key))
		if errors.As(err, new(*fs.PathError)) || errors.As(err, new(*format.NewerError)) {
			return nil, nil, failure("adopt", key, nil, err)
		}
		if err != nil || r.Key != key {
			lost[key] = "its record is damaged"
			dead = append(dead, key)
			continue
		}
		found = append(found, &adoption{r: r})
	}
	if d.limits && len(found) > 0 {
		// Of an earlier version they have none. What fails here fails the next create.
		_ = d.node.limit(d.dirs.CgroupParent())
	}
	adoptAll(ctx, found, d.adopt)
	for _, a := range found {
		switch {
		case errors.As(a.err, new(lostError)):
			lost[a.r.ID] = brief(a.err).Error()
			dead = append(dead, a.r.Key)
		case a.err != nil:
			err = errors.Join(err, failure("adopt", a.r.ID, nil, a.err))
		default:
			if view, ok := d.machines.View(a.r.ID); ok {
				adopted = append(adopted, view)
			}
		}
	}
	for _, entry := range entries {
		// Directories without a record: left by a process that died early.
		if name := entry.Name(); entry.IsDir() && !keys[name] {
			dead = append(dead, name)
		}
	}
	clean(d.dirs, dead)
	if err != nil {
		return adopted, lost, err
	}
	d.dirs.RemoveUnclaimed(d.machines.Keys)
	_ = d.engines.remove() // What is not certain is kept.
	return adopted, lost, nil
}

// adoptAll calls adopt for all at once. When every sentry was asked, and none has answered
// for a quiet time, it waits for the rest no longer: the sandboxes of those that
// did answer are waited for.
func adoptAll(ctx context.Context, found []*adoption, adopt func(context.Context, record) (*machine, error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := make(chan struct{}, len(found))
	var wg sync.WaitGroup
	free := make(chan struct{}, adoptions)
	for _, a := range found {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			a.m, a.err = adopt(ctx, a.r)
			answered <- struct{}{}
		})
	}
	quiet := time.NewTimer(quietFactor * mostGap) // Until the first answer.
	defer quiet.Stop()
	last, longest := time.Now(), leastGap
	for range found {
		select {
		case <-answered:
			longest = min(max(longest, time.Since(last)), mostGap)
			last = time.Now()
			quiet.Reset(quietFactor * longest)
		case <-quiet.C:
			cancel()
		}
	}
	wg.Wait()
}

// The quiet time is quietFactor times the longest time between two answers so far,
// which is short on an idle host, and within the bounds of such a time.
const (
	quietFactor = 5
	leastGap    = 20 * time.Millisecond
	mostGap     = 100 * time.Millisecond
)

func readRecord(file string) (record, error) {
	var r record
	if err := format.ReadJSON("the record of the machine in", file, recordFormat, &r); err != nil {
		return r, err
	}
	return r, vm.ValidateID(r.ID)
}

// adopt takes over one machine. The error is a lostError if it is gone.
func (d *Driver) adopt(ctx context.Context, r record) (_ *machine, err error) {
	if r.BootID != process.BootID() {
		return nil, lostError("the host was restarted")
	}
	if r.SandboxPID == 0 {
		return nil, errIncomplete
	}
	if r.From != "" {
		_ = d.snapshots.Move(r.From, r.ID) // The renaming is complete now.
	}
	m := newMachine(r.ID, r.Key)
	m.created, m.spec, m.pending, m.cold, m.resume, m.setUID, m.oneLayer, m.savedRoot = r.Created, r.Spec, r.Pending, r.Cold, r.Resume, r.SetUID, r.OneLayer, r.SavedRoot
	m.unsure = true
	d.machines.SetStatus(m, r.Status)
	if r.Cgroup.Cgroup != nil {
		m.group = &cgroups.Group{CgroupJSON: r.Cgroup}
	}
	defer func() {
		if err != nil {
			m.release()
		}
	}()
	if m.sandbox, err = process.Open(r.SandboxPID, r.SandboxStart); errors.Is(err, process.ErrGone) {
		return nil, m.gone()
	} else if err != nil {
		return nil, err
	}
	if m.engine, err = engine.Of(r.SandboxPID); err != nil {
		return nil, err
	}
	if r.GoferPID != 0 {
		if m.gofer, err = process.Open(r.GoferPID, r.GoferStart); errors.Is(err, process.ErrGone) {
			return nil, lostError("its file server has ended")
		} else if err != nil {
			return nil, err
		}
	}
	bundle := d.dirs.Bundle(r.Key)
	m.calls = control.Sandbox{ID: r.Key, Socket: d.dirs.Socket(r.Key)}
	if m.console, err = console.Open(filepath.Join(bundle, consoleFile)); err != nil {
		m.console = console.None() // A machine is worth more than what it prints.
	}
	if err := d.meet(ctx, m); err != nil {
		return nil, err
	}
	if err := d.machines.Reserve(m); errors.Is(err, vm.ErrAlreadyExists) {
		return nil, lostError("another machine has the id " + r.ID)
	} else if err != nil {
		return nil, err
	}
	m.watched = true
	go m.watch(&d.machines)
	_, status, _ := d.machines.State(m)
	d.machines.Show(m, status, d.snapshots.Of)
	return m, nil
}

// gone says why a machine without a sandbox process is lost.
func (m *machine) gone() error {
	if m.group.OOMKills() > 0 {
		return lostError("oom")
	}
	return lostError("its sandbox process has ended")
}

// meet asks an adopted machine for its state. One that does not answer in time
// is busy until it does, with the status that it was last known to have.
func (d *Driver) meet(ctx context.Context, m *machine) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_ = m.Turn.Lock(context.WithoutCancel(ctx), "adopt") // Not shared yet.
	err := m.Turn.Run(ctx, 0, func() error {
		err := d.records.settle(m)
		if err == nil {
			m.settleLimit(func() {}) // The process before may have died in the middle of a save.
			raise(d, m)
		}
		return err
	})
	if errors.As(err, new(lostError)) {
		return err
	}
	if err != nil {
		// It may be a process that was killed and has not ended yet.
		select {
		case <-m.sandbox.Joined:
			return m.gone()
		case <-ctx.Done():
		}
	}
	// The one that it must have had last; the record of an earlier version has none.
	if _, status, _ := d.machines.State(m); status == "" {
		d.machines.SetStatus(m, vm.StatusRunning)
		if m.pending != "" {
			d.machines.SetStatus(m, vm.StatusStopped)
		}
	}
	return nil
}

// lives reports whether a process that was to be ended may live on.
func lives(err error) bool { return err != nil && !errors.Is(err, process.ErrGone) }

// clean frees the objects that dead machines left. It signals only processes whose command
// line names the machine's bundle, and recorded ones. Where one may be left, its files are, too: the next Adopt finds it by them.
func clean(dirs files.Dirs, keys []string) {
	bundles := map[string]bool{}
	for _, key := range keys {
		bundles[dirs.Bundle(key)] = true
	}
	if killStrays(bundles) != nil {
		return
	}
	for _, key := range keys {
		r, err := readRecord(dirs.Record(key))
		if errors.As(err, new(*fs.PathError)) && !errors.Is(err, fs.ErrNotExist) {
			continue // Whose processes it names is not known.
		}
		if err == nil && r.BootID == process.BootID() {
			sandbox, gofer := process.KillRecorded(r.SandboxPID, r.SandboxStart), process.KillRecorded(r.GoferPID, r.GoferStart)
			if lives(sandbox) || lives(gofer) {
				continue
			}
		}
		// By name: the group may be older than the record, or the record damaged.
		cgroups.RemoveAt(dirs.Cgroup(key))
		dirs.RemoveMachine(key)
		dirs.RemoveRecord(key)
	}
}
