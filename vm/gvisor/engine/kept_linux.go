package engine

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// Kept are the engines in a directory, by their names (launch.EngineName). Several processes
// can share it. A snapshot needs the engine that made it.
type Kept string

// Path is the path of an engine; empty without a name.
func (k Kept) Path(name string) string {
	if name == "" {
		return ""
	}
	return filepath.Join(string(k), name)
}

// Name is the name of the engine at path; empty if it is not one of this directory.
func (k Kept) Name(path string) string {
	if filepath.Dir(path) != string(k) {
		return ""
	}
	return launch.EngineName(path)
}

// Has reports whether an engine is there.
func (k Kept) Has(name string) bool {
	info, err := os.Lstat(k.Path(name)) // A link would have another name when it runs.
	return err == nil && info.Mode().IsRegular()
}

// Check says why an engine cannot be used: it is not there, cannot be executed by every user, or
// is not a whole program.
func (k Kept) Check(name string) error {
	if !k.Has(name) {
		return errors.New("it is missing")
	}
	info, err := os.Stat(k.Path(name))
	if err != nil {
		return err
	}
	if info.Mode()&0o5 != 0o5 {
		return fmt.Errorf("its mode is %v", info.Mode())
	}
	if _, err := buildinfo.ReadFile(k.Path(name)); err != nil {
		return fmt.Errorf("it is damaged: %w", err)
	}
	return nil
}

// Same reports whether the file of an engine is there, executable and as long as what a process
// runs.
func (k Kept) Same(name string, pid int) bool {
	file, err := os.Lstat(k.Path(name))
	runs, runsErr := os.Stat(exe(pid))
	return errors.Join(err, runsErr) == nil && file.Mode() == 0o755 && file.Size() == runs.Size()
}

const (
	// lockTime bounds the wait for another process, which decides within a second or so.
	lockTime = time.Minute
	lockPoll = 10 * time.Millisecond
)

// Lock is held by one goroutine of all processes: while an engine is selected that may be
// about to be removed, and while Remove decides. It waits until ctx ends, or lockTime.
func (k Kept) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(string(k))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", k, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", k, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// Remove removes the engines that needed does not return, and what an interrupted
// unpacking left. needed is called only if there is one beside current. If it fails, none is removed.
func (k Kept) Remove(current string, needed func() (map[string]bool, error)) error {
	unlock, err := k.Lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(string(k))
	if err != nil || len(entries) == 0 || len(entries) == 1 && entries[0].Name() == current {
		return err
	}
	names, err := needed()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); name != current && !names[name] {
			err = errors.Join(err, os.Remove(filepath.Join(string(k), name)))
		}
	}
	return err
}

// Recover writes the engine that a process runs to its file again.
func (k Kept) Recover(pid int) error {
	unlock, err := k.Lock(context.Background())
	if err != nil {
		return err
	}
	defer unlock()
	name, err := Of(pid)
	if err != nil || name == "" {
		return errors.Join(errors.New("the process does not run an engine that is kept"), err)
	}
	from, err := os.Open(exe(pid))
	if err != nil {
		return err
	}
	defer from.Close()
	return k.Put(name, from)
}

// Put writes an engine. The caller holds the lock, and knows that the name is that of the contents.
func (k Kept) Put(name string, from io.Reader) error {
	to, err := renameio.NewPendingFile(k.Path(name), renameio.WithTempDir(string(k)), renameio.WithStaticPermissions(0o755))
	if err != nil {
		return err
	}
	defer func() { _ = to.Cleanup() }()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return durable.Sync(string(k))
}

// Running returns the engines that the processes of sandboxes on this host run. It fails if
// it cannot inspect one.
func Running() (map[string]bool, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Others may be more privileged than this one, and hide what they run.
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && !strings.HasPrefix(string(cmdline), launch.ProcessPrefix) {
			continue
		}
		name, err := Of(pid)
		if err != nil {
			return nil, err
		}
		names[name] = true
	}
	return names, nil
}

// Of returns the engine that a process runs; empty if it is a program without a digest in
// its name, a thread of the kernel, or has ended.
func Of(pid int) (string, error) {
	link, err := os.Readlink(exe(pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return "", nil
	}
	return launch.EngineName(link), err
}

func exe(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// Version returns the version of gVisor in this program, or in the one that the process
// runs if pid is not 0.
func Version(pid int) (string, error) {
	info, ok := debug.ReadBuildInfo()
	if pid != 0 {
		var err error
		if info, err = buildinfo.ReadFile(exe(pid)); err != nil {
			return "", err
		}
	} else if !ok {
		return unknown, nil
	}
	for _, dep := range info.Deps {
		if dep.Path == "gvisor.dev/gvisor" {
			return dep.Version, nil
		}
	}
	return unknown, nil
}

const unknown = "unknown"
