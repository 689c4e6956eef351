//go:build linux

// Package delegated finds the control groups that an ordinary user may divide, and shows them to a new namespace as the roots. It may import
// golang.org/x/sys and the standard library; package rootless imports it.
package delegated

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is the control group of a process in one hierarchy.
type Group struct {
	// dir is where this process sees it.
	dir string
	// mount, kind and options mount the hierarchy again, for a namespace in which the group is the root.
	mount, kind, options string
}

// Of returns the groups of a process in the hierarchies that this process sees, with their directories as this process
// sees them.
func Of(pid string) ([]Group, error) {
	own, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parse(string(own), string(mounts)), nil
}

// parse joins lines of /proc/PID/cgroup ("4:cpu,cpuacct:/path" or "0::/path") with the mounts of those hierarchies.
func parse(own, mounts string) (list []Group) {
	for line := range strings.Lines(mounts) {
		// 31 23 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		place, what := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(what) < 3 {
			continue
		}
		g := Group{mount: place[4], kind: what[0], options: controllers(what[2])}
		if g.kind == "cgroup2" {
			g.options = ""
		} else if g.kind != "cgroup" {
			continue
		}
		if path, ok := pathIn(own, g.options); ok {
			if rel, err := filepath.Rel(place[3], path); err == nil && filepath.IsLocal(rel) {
				g.dir = filepath.Join(g.mount, rel)
				list = append(list, g)
			}
		}
	}
	return list
}

// controllers are the options of a mount of version 1 that say which hierarchy it is.
func controllers(options string) string {
	var names []string
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "rw", "ro", "xattr", "clone_children", "noprefix", "none":
		default:
			if !strings.HasPrefix(option, "release_agent=") {
				names = append(names, option)
			}
		}
	}
	return strings.Join(names, ",")
}

// pathIn is the path of a process's group in the hierarchy with these controllers; none is that of version 2.
func pathIn(own, controllers string) (string, bool) {
	for line := range strings.Lines(own) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 && fields[1] == controllers {
			return fields[2], true
		}
	}
	return "", false
}

// ErrNot is what most processes find: a service manager delegates what it is asked for.
var ErrNot = errors.New("this user may not divide its control group")

// Check finds out whether this process may make groups below its own ones, with the controllers that sandboxes need.
func Check(list []Group) error {
	have := map[string]bool{}
	for _, g := range list {
		names := g.options
		if g.kind == "cgroup2" {
			text, _ := os.ReadFile(filepath.Join(g.dir, "cgroup.controllers"))
			names = strings.Join(strings.Fields(string(text)), ",")
		}
		writable := unix.Access(g.dir, unix.W_OK) == nil && unix.Access(filepath.Join(g.dir, "cgroup.procs"), unix.W_OK) == nil
		for name := range strings.SplitSeq(names, ",") {
			have[name] = have[name] || writable
		}
	}
	for _, name := range []string{"cpu", "memory", "pids"} {
		if !have[name] {
			return fmt.Errorf("%w with the controller %s", ErrNot, name)
		}
	}
	return nil
}

// Below is the name of the group below a delegated one of version 2 that has the node's own processes: a group that is divided has none itself.
const Below = "node"

// Whole are the groups that were delegated: for a process that a service manager has started in the group of the node's
// own processes (systemd's DelegateSubgroup), those above. A group that is divided could not have it, when the service starts again.
func Whole(list []Group) []Group {
	list = slices.Clone(list)
	for i, g := range list {
		above := filepath.Dir(g.dir)
		if g.kind == "cgroup2" && filepath.Base(g.dir) == Below && unix.Access(above, unix.W_OK) == nil && unix.Access(filepath.Join(above, "cgroup.procs"), unix.W_OK) == nil {
			list[i].dir = above
		}
	}
	return list
}

// MoveUp moves this process into the groups themselves, so that a new namespace has them as roots: none is divided yet.
func MoveUp(list []Group) error {
	for _, g := range list {
		if g.kind != "cgroup2" || unix.Access(g.dir, unix.W_OK) != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fmt.Errorf("enter %s: %w", g.dir, err)
		}
	}
	return nil
}

// Enter moves processes into the group of the node's own processes.
func Enter(list []Group, pids ...int) error {
	for _, g := range list {
		dir := g.dir
		if unix.Access(dir, unix.W_OK) != nil {
			continue // A hierarchy that is not divided, such as one that only names processes.
		}
		if g.kind == "cgroup2" && filepath.Base(dir) != Below {
			dir = filepath.Join(dir, Below)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
		for _, pid := range pids {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// root is where all hierarchies are mounted.
const root = "/sys/fs/cgroup"

// Mount shows a process in a new namespace of control groups its groups as the roots. The host's mounts are covered: one cannot
// be mounted over itself.
func Mount(list []Group) error {
	links := map[string]string{} // Of hierarchies with several controllers.
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(root, e.Name())); err == nil {
			links[e.Name()] = target
		}
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("none", root, "tmpfs", flags, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("cover %s: %w", root, err)
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, g := range list {
		options := g.options
		if strings.HasPrefix(options, "name=") {
			options = "none," + options
		}
		if err := os.MkdirAll(g.mount, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", g.mount, g.kind, flags, options); err != nil {
			return fmt.Errorf("mount %s at %s: %w", g.kind, g.mount, err)
		}
	}
	return nil
}
