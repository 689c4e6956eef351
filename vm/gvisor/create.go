//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/specutils"

	"github.com/rundlet/rundlet/vm"
)

// Create implements vm.Provider. With RestoreFrom and without
// ResumeImmediately it makes the whole sandbox but loads nothing: Start is
// then only the load.
func (d *Driver) Create(ctx context.Context, id string, spec vm.Spec) (err error) {
	if err := errors.Join(vm.ValidateID(id), ctx.Err()); err != nil {
		return failure("create", id, nil, err)
	}
	m, err := d.reserve(id)
	if err != nil {
		return failure("create", id, nil, err)
	}
	if err := d.create(ctx, m, spec); err != nil {
		d.mu.Lock()
		delete(d.machines, id)
		d.mu.Unlock()
		return failure("create", id, nil, err)
	}
	return nil
}

// reserve takes the id for a machine that queries do not show yet.
func (d *Driver) reserve(id string) (*machine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fmt.Errorf("%w: %w", vm.ErrUnavailable, errClosed)
	}
	if d.machines[id] != nil {
		return nil, vm.ErrAlreadyExists
	}
	m := newMachine(id, newKey())
	d.machines[id] = m
	return m, nil
}

func newMachine(id, key string) *machine {
	return &machine{id: id, key: key, created: time.Now(), op: make(chan struct{}, 1),
		ended: make(chan struct{}), watching: make(chan struct{})}
}

func (d *Driver) create(ctx context.Context, m *machine, spec vm.Spec) (err error) {
	if err := checkSpec(spec); err != nil {
		return err
	}
	status, images, ref := vm.StatusCreated, "", spec.RestoreFrom
	if ref != nil {
		var from *manifest
		if images, from, spec, err = d.resolve(ref, spec); err != nil {
			return err
		}
		m.cold, m.hostFiles = from.Filesystem, from.ownHostFiles(spec)
		status = vm.StatusStopped
	}
	m.spec = ownSpec(spec)
	if !d.limits && d.conf.Cgroups != "off" && (m.spec.VCPUs > 0 || m.spec.MemoryMiB > 0) {
		return &vm.Error{Op: "create", ID: m.id, Kind: vm.ErrUnsupported,
			Err:  errors.New("cpu and memory limits: this host has no usable control groups"),
			Hint: "mount control groups (v1 or v2), or switch limits off"}
	}
	defer func() {
		if err != nil {
			d.undo(m)
		}
	}()
	m.resume = ref != nil && ref.ResumeImmediately
	if ref != nil && !m.resume {
		// Links: the snapshot may be deleted before Start.
		m.pending = filepath.Join(d.conf.pendingDir(), m.key)
		if err := linkImages(images, m.pending); err != nil {
			return err
		}
		d.step(stepCreateLinked, m.id)
	}
	if err := d.boot(m, images); err != nil {
		return err
	}
	if err := errors.Join(d.point("create", m.id), ctx.Err()); err != nil {
		return err
	}
	if m.resume {
		d.step(stepCreateLoading, m.id)
		if err := d.load(m, images); err != nil {
			return d.restoreError(m, err)
		}
		d.step(stepCreateRunning, m.id)
		status, m.cold = vm.StatusRunning, false
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m.snapshots = snapshotsOnDisk(d.conf, m.id)
	if m.exitReason != "" {
		status = vm.StatusStopped
	}
	m.status = status
	return nil
}

// ownSpec copies what the caller may change later.
func ownSpec(spec vm.Spec) vm.Spec {
	spec.Args, spec.Env, spec.Mounts = slices.Clone(spec.Args), slices.Clone(spec.Env), slices.Clone(spec.Mounts)
	spec.RestoreFrom = nil
	return spec
}

// boot makes the sandbox's processes, with limits, console and record, up to
// the point where a program can be started or a snapshot loaded. The sandbox of
// a cold machine takes its files from images.
func (d *Driver) boot(m *machine, images string) (err error) {
	bundle := d.conf.bundle(m.key)
	if err := os.Mkdir(bundle, 0o700); err != nil {
		return err
	}
	if m.console, err = openConsole(filepath.Join(bundle, consoleFile)); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	d.step(stepCreateBundle, m.id)
	if d.limits {
		if m.group, err = newGroup(d.conf.cgroupPath(m.key), m.spec); err != nil {
			return err
		}
	}
	d.step(stepCreateCgroup, m.id)
	if err := writeBundle(bundle, m.spec, m.group, images); err != nil {
		return err
	}
	if err := d.writeRecord(m, m.id, ""); err != nil {
		return err
	}
	d.step(stepCreateRecord, m.id)
	if m.runsc, err = runscConfig(d.conf, m.spec, bundle); err != nil {
		return err
	}
	oci, err := specutils.ReadSpec(bundle, m.runsc)
	if err != nil {
		return err
	}
	args := container.Args{ID: m.key, Spec: oci, BundleDir: bundle}
	if m.cold && exists(filepath.Join(images, filesystemImage)) {
		args.FSRestoreImagePath = images
		lower, err := d.liftForRestore(m, images)
		if err != nil {
			return err
		}
		defer lower()
	}
	if m.c, err = container.New(m.runsc, args); err != nil {
		if why, readErr := os.ReadFile(filepath.Join(bundle, launchErrorFile)); readErr == nil {
			err = fmt.Errorf("sandbox process: %s", why)
		}
		return err
	}
	d.step(stepCreateSandbox, m.id)
	if m.sandbox, err = openProcess(m.c.SandboxPid(), 0); err != nil {
		return err
	}
	if pid := m.c.GoferPid.Load(); pid != 0 {
		if m.gofer, err = openProcess(pid, 0); err != nil {
			return err
		}
	}
	if err := m.setSandboxScore(); err != nil {
		return fmt.Errorf("set oom score: %w", err)
	}
	if err := d.writeRecord(m, m.id, ""); err != nil {
		return err
	}
	d.step(stepCreateRecorded, m.id)
	m.watched = true
	go d.watch(m)
	return nil
}

// undo frees everything of a machine whose creation failed.
func (d *Driver) undo(m *machine) {
	if m.c != nil && m.sandbox == nil {
		_ = m.c.Destroy() // Its processes are our children: their numbers are theirs.
	}
	_ = d.end(m)
}
