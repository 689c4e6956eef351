//go:build linux

package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/firecracker/monitor"
	"github.com/rundlet/rundlet/vm/microvm/kernel"
	"github.com/rundlet/rundlet/vm/microvm/program"
)

// The files of probes, in the directory of kernels.
const (
	probeFile = ".firecracker-probe.json"
	probeLock = ".firecracker-probe.lock"
	probeDir  = ".firecracker-probe-"
)

// bootLimit is how long a tiny guest may take. Hardware takes a fraction of it.
const bootLimit = 5 * time.Second

// probed is what a probe found out, and of what.
type probed struct {
	Boot    string `json:"boot_id"`
	Kernel  string `json:"kernel"`
	Program string `json:"program"`
	Version string `json:"version"`
	// Changed is when the program was changed, in nanoseconds.
	Changed int64  `json:"changed"`
	Init    string `json:"init"`
	// Error is empty if a guest has booted.
	Error string `json:"error,omitempty"`
}

// works returns nil if a guest of the kernel that was installed last really boots on this host. An answer that is a proof is kept until the next boot of the
// host, or until kernel or program change: not that of a host that was busy, or short of something. With again, one that says no is not believed. Only
// root can find out.
func works(ctx context.Context, programs monitor.Programs, kernels string, limit time.Duration, again bool) error {
	if os.Geteuid() != 0 {
		return errors.New("not running as root")
	}
	k, err := kernel.Open(kernels)
	if err != nil {
		return err
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return err
	} else if err := f.Close(); err != nil {
		return err
	}
	info, err := os.Stat(programs.Firecracker)
	if err != nil {
		return err
	}
	of := probed{Boot: process.BootID(), Kernel: k.ID, Program: programs.Firecracker, Version: programs.Version.String(), Changed: info.ModTime().UnixNano(), Init: program.Digest()}
	lock, err := flock.Await(ctx, filepath.Join(kernels, probeLock))
	if err != nil {
		return err
	}
	defer lock.Close()
	var known probed
	file := filepath.Join(kernels, probeFile)
	if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &known) == nil {
		why := known.Error
		if known.Error = ""; known == of && (why == "" || !again) {
			return asError(why)
		}
	}
	if err := removeProbes(kernels); err != nil {
		return err
	}
	if err := probe(ctx, programs, k, kernels, limit); err != nil {
		if ctx.Err() != nil || !errors.As(err, new(*monitor.NoGuestError)) {
			return err
		}
		of.Error = err.Error()
	}
	if err := durable.WriteJSON(file, of); err != nil {
		return err
	}
	return asError(of.Error)
}

func asError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

func probe(ctx context.Context, programs monitor.Programs, k kernel.Kernel, kernels string, limit time.Duration) error {
	dir, err := os.MkdirTemp(kernels, probeDir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := program.Extract(dir)
	if err != nil {
		return err
	}
	init, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// The name of a machine begins with no dot.
	work := filepath.Join(dir, strings.TrimPrefix(filepath.Base(dir), "."))
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	return monitor.Probe(ctx, programs, k, init, work, limit)
}

// removeProbes ends and removes what is left of probes whose process has ended. The lock is held, so none is made now.
func removeProbes(kernels string) error {
	left, err := filepath.Glob(filepath.Join(kernels, probeDir+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := process.KillByArgument(strings.TrimPrefix(filepath.Base(dir), ".")); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}
