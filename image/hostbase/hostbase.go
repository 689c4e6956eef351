//go:build linux

// Package hostbase makes the template "base" without a download: a small root
// directory of our own plus the host's /usr, mounted with a private layer.
// Nothing of the host's /home, /root or /var is in it, and of /etc only a short
// list that carries no secret (see hostFiles). It may import vm, image/guest, image/erofs,
// internal packages and the standard library; runtime and cmd may import it. Linux only, and it needs root: files
// of the base belong to several users.
package hostbase

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/vm"
)

// ErrUnsupportedHost: this host's /usr cannot be shown as a base, whatever the
// caller does.
var ErrUnsupportedHost = errors.New("host cannot serve as a base")

// Config says what to build and where.
type Config struct {
	// Dir holds all builds, one directory each. It is made if missing.
	Dir string
	// AgentPath is the agent's binary on the host. The base takes a copy: what a
	// snapshot depends on must not change when Rundlet is upgraded.
	AgentPath string
	// Nameservers are written to resolv.conf. Empty means DefaultNameservers:
	// the host's own are often private addresses, which a sandbox cannot reach.
	Nameservers []string
	// HostRoot is the host's root directory; empty is "/".
	HostRoot string
}

// DefaultNameservers are those of package guest.
var DefaultNameservers = guest.DefaultNameservers

// Base is a finished build: the parts of a vm.Spec that start the agent in it.
type Base struct {
	// ID is a digest of everything that a snapshot of this base depends on: the
	// content of Rootfs, the agent, the layout of this package, and a stamp of
	// the host's /usr. A snapshot is of use only as long as the ID stays.
	ID string
	// Rootfs is the root directory. It must not be written to.
	Rootfs string
	// Mounts are the host's /usr, and empty directories over those parts of it
	// where administrators keep configuration.
	Mounts []vm.Mount
	// Args and Env are the first process: the agent.
	Args []string
	Env  []string
	// Changed are files that packages brought to the host's /etc and that are not in
	// the base, since they were changed there and may hold secrets.
	Changed []string
}

// Build makes the base for the host as it is now, or finds it if it is there
// already. It is atomic: a build exists completely or not at all. Builds of
// other host states stay until Remove.
func Build(ctx context.Context, cfg Config) (Base, error) {
	if cfg.HostRoot == "" {
		cfg.HostRoot = "/"
	}
	if len(cfg.Nameservers) == 0 {
		cfg.Nameservers = DefaultNameservers
	}
	for _, ns := range cfg.Nameservers {
		if _, err := netip.ParseAddr(ns); err != nil {
			return Base{}, fmt.Errorf("base: nameserver: %w", err)
		}
	}
	dir, err := filepath.Abs(cfg.Dir) // a spec with mounts needs an absolute root
	if err != nil {
		return Base{}, fmt.Errorf("base: %w", err)
	}
	if os.Geteuid() != 0 {
		return Base{}, errors.New("base: creating files of several owners needs root")
	}
	t, err := plan(cfg)
	if err != nil {
		return Base{}, fmt.Errorf("base: %w", err)
	}
	id, err := t.digest(cfg)
	if err != nil {
		return Base{}, fmt.Errorf("base: %w", err)
	}
	base := Base{
		ID:     id,
		Rootfs: filepath.Join(dir, id),
		Args:   []string{agentPath},
		Env:    []string{"PATH=" + guestPath, "HOME=/root", "LANG=C.UTF-8"},

		Changed: t.changed,
	}
	base.Mounts = mounts(cfg.HostRoot, filepath.Join(base.Rootfs, agentDir, "empty"))

	unlock, err := lock(dir)
	if err != nil {
		return Base{}, fmt.Errorf("base: %w", err)
	}
	defer unlock()
	if _, err := os.Lstat(base.Rootfs); err == nil {
		return base, nil
	}
	if err := sweep(dir); err != nil {
		return Base{}, fmt.Errorf("base: %w", err)
	}
	if err := install(ctx, t, dir, id); err != nil {
		return Base{}, fmt.Errorf("base: write %s: %w", base.Rootfs, err)
	}
	return base, nil
}

// mounts shows the host's /usr, but not the two places below it where
// administrators keep configuration, which may hold credentials.
func mounts(hostRoot, empty string) []vm.Mount {
	out := []vm.Mount{{Source: filepath.Join(hostRoot, "usr"), Target: "/usr", Overlay: true}}
	for _, d := range []string{"usr/etc", "usr/local/etc"} {
		// Also if it is empty: what is put there later must not be seen.
		if info, err := os.Stat(filepath.Join(hostRoot, d)); err == nil && info.IsDir() {
			out = append(out, vm.Mount{Source: empty, Target: "/" + d, Overlay: true})
		}
	}
	return out
}

// install writes t next to its final place and renames it.
func install(ctx context.Context, t *tree, dir, id string) (retErr error) {
	staging, err := os.MkdirTemp(dir, stagingPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			_ = os.RemoveAll(staging)
		}
	}()
	if err := t.write(ctx, staging); err != nil {
		return err
	}
	// A rename may reach the disk before the data: a power cut would leave a
	// complete-looking build of empty files.
	if err := syncFS(staging); err != nil {
		return err
	}
	if err := os.Rename(staging, filepath.Join(dir, id)); err != nil {
		return err
	}
	return syncFS(dir) // Snapshots name this very directory.
}

// List returns the ids of the builds in dir, sorted.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list bases: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Remove deletes a build. The caller knows that no sandbox and no snapshot
// uses it. A build that is not there is not an error.
func Remove(dir, id string) error {
	if err := vm.ValidateID(id); err != nil {
		return fmt.Errorf("remove base: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return fmt.Errorf("remove base %s: %w", id, err)
	}
	defer unlock()
	// Renamed first, so that a half-removed build is never taken for a whole one.
	err = os.Rename(filepath.Join(dir, id), filepath.Join(dir, stagingPrefix+id))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove base: %w", err)
	}
	return sweep(dir)
}

const stagingPrefix = ".tmp-"

// sweep removes what an earlier process left half done. The caller holds the lock.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, stagingPrefix+"*"))
	if err != nil {
		return err
	}
	for _, d := range left {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	return nil
}

// lock keeps other processes and goroutines from building in dir.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := flock.Wait(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
