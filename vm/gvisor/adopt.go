//go:build linux

package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/container"

	"github.com/rundlet/rundlet/vm"
)

// Adopt implements vm.Adopter.
func (d *Driver) Adopt(ctx context.Context) (adopted []vm.View, lost map[string]string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, failure("adopt", "", nil, err)
	}
	entries, err := os.ReadDir(d.conf.machinesDir())
	if err != nil {
		return nil, nil, failure("adopt", "", nil, err)
	}
	lost = map[string]string{}
	var dead []string // Keys.
	keys := map[string]bool{}
	for _, entry := range entries {
		key, isRecord := strings.CutSuffix(entry.Name(), ".json")
		if !isRecord || d.known(key) {
			keys[key] = keys[key] || d.known(key)
			continue
		}
		keys[key] = true
		r, err := readRecord(d.conf.recordFile(key))
		if err != nil || r.Key != key {
			lost[key] = "its record is damaged"
			dead = append(dead, key)
			continue
		}
		if r.From != "" {
			_ = moveSnapshots(d.conf, r.From, r.ID) // The renaming is complete now.
		}
		m, err := d.adopt(r)
		if err != nil {
			lost[r.ID] = brief(err).Error()
			dead = append(dead, key)
			continue
		}
		d.mu.Lock()
		adopted = append(adopted, m.view())
		d.mu.Unlock()
	}
	for _, entry := range entries {
		// Directories without a record: left by a process that died early.
		if name := entry.Name(); entry.IsDir() && !keys[name] {
			dead = append(dead, name)
		}
	}
	d.clean(dead)
	d.cleanPending()
	return adopted, lost, nil
}

// known reports whether a machine of this driver value has the key.
func (d *Driver) known(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		if m.key == key {
			return true
		}
	}
	return false
}

func readRecord(file string) (record, error) {
	var r record
	data, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, err
	}
	return r, vm.ValidateID(r.ID)
}

// adopt takes over one machine, or says why it cannot.
func (d *Driver) adopt(r record) (_ *machine, err error) {
	if r.BootID != bootID() {
		return nil, errors.New("the host was restarted")
	}
	if r.SandboxPID == 0 {
		return nil, errors.New("its creation was not complete")
	}
	m := newMachine(r.ID, r.Key)
	m.created, m.spec, m.pending, m.cold, m.resume = r.Created, r.Spec, r.Pending, r.Cold, r.Resume
	if r.Cgroup.Cgroup != nil {
		m.group = &group{r.Cgroup}
	}
	if m.sandbox, err = openProcess(r.SandboxPID, r.SandboxStart); err != nil {
		if m.group.oomKills() > 0 {
			return nil, errors.New("oom")
		}
		return nil, errors.New("its sandbox process has ended")
	}
	defer func() {
		if err != nil {
			m.sandbox.kill() // It is the one that was recorded.
			m.gofer.kill()
			m.release()
		}
	}()
	if r.GoferPID != 0 {
		if m.gofer, err = openProcess(r.GoferPID, r.GoferStart); err != nil {
			return nil, errors.New("its file server has ended")
		}
	}
	full := container.FullID{SandboxID: r.Key, ContainerID: r.Key}
	m.c, err = container.Load(d.conf.rootDir(), full, container.LoadOpts{Exact: true, SkipCheck: true})
	if err != nil {
		return nil, fmt.Errorf("its state: %w", err)
	}
	if m.status, err = adoptedStatus(m); err != nil {
		return nil, err
	}
	if m.pending != r.Pending {
		_ = os.RemoveAll(r.Pending) // The process died before it could.
	}
	bundle := d.conf.bundle(r.Key)
	if m.runsc, err = runscConfig(d.conf, m.spec, bundle); err != nil {
		return nil, err
	}
	if m.console, err = openConsole(filepath.Join(bundle, consoleFile)); err != nil {
		return nil, fmt.Errorf("its console: %w", err)
	}
	m.snapshots = snapshotsOnDisk(d.conf, r.ID)
	m.settleLimit(func() {}) // The process before may have died in the middle of a save.
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.machines[r.ID] != nil {
		return nil, fmt.Errorf("another machine has the id %s", r.ID)
	}
	d.machines[r.ID] = m
	m.watched = true
	go d.watch(m)
	return m, nil
}

// adoptedStatus asks the sandbox itself whether it answers, and what its state
// is.
func adoptedStatus(m *machine) (vm.Status, error) {
	if m.c.Status != container.Created {
		if _, err := m.c.Sandbox.Event(m.key); err != nil {
			return "", fmt.Errorf("its sandbox does not answer: %w", err)
		}
	}
	switch m.c.Status {
	case container.Created:
		if m.resume {
			return "", errors.New("its creation was not complete")
		}
		if m.pending != "" {
			return vm.StatusStopped, nil
		}
		return vm.StatusCreated, nil
	case container.Running:
		m.pending, m.cold = "", false
		return vm.StatusRunning, nil
	case container.Paused:
		m.pending, m.cold = "", false
		return vm.StatusStopped, nil
	}
	return "", fmt.Errorf("its state is %q", m.c.Status)
}

// clean frees what dead machines left. It signals only processes whose command
// line names the machine's bundle.
func (d *Driver) clean(keys []string) {
	bundles := map[string]bool{}
	for _, key := range keys {
		bundles[d.conf.bundle(key)] = true
	}
	for bundle, pids := range strays(bundles) {
		for _, pid := range pids {
			killStray(pid, bundle)
		}
	}
	for _, key := range keys {
		if r, err := readRecord(d.conf.recordFile(key)); err == nil && r.BootID == bootID() {
			killRecorded(r.SandboxPID, r.SandboxStart)
			killRecorded(r.GoferPID, r.GoferStart)
		}
		// By name: the group may be older than the record, or the record damaged.
		removeGroup(d.conf.cgroupPath(key))
		d.removeFiles(key)
		d.removeRecord(key)
	}
}

// cleanPending removes images that no machine waits to load, half-made and
// half-deleted snapshots, directories for snapshots that were not made, files of layers that were not unlinked in time, and
// all that is left of earlier boots.
func (d *Driver) cleanPending() {
	boots, _ := os.ReadDir(d.conf.allPending())
	for _, boot := range boots {
		if boot.Name() != bootID() {
			_ = os.RemoveAll(filepath.Join(d.conf.allPending(), boot.Name()))
		}
	}
	owners, _ := os.ReadDir(d.conf.snapshotsDir())
	for _, owner := range owners {
		_ = unix.Rmdir(filepath.Join(d.conf.snapshotsDir(), owner.Name())) // Succeeds if it is empty.
	}
	entries, _ := os.ReadDir(d.conf.pendingDir())
	for _, entry := range entries {
		if !d.known(entry.Name()) {
			_ = os.RemoveAll(filepath.Join(d.conf.pendingDir(), entry.Name()))
		}
	}
}
