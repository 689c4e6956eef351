package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/rundlet/rundlet/layout"
)

// inventory is what there is on the machine for a server's sandboxes: keys and
// names, sorted.
type inventory struct {
	// machines are the keys of the driver's machines by the id of their sandbox.
	machines map[string]string
	// bundles, containers, groups and running are keys: directories of machines,
	// states of the user-space kernel, control groups, processes.
	bundles, containers, groups, running []string
	// pending are the keys of machines that have still to load their images, and
	// of snapshots that are half-made or half-deleted.
	pending []string
	// snapshots are "machine/name".
	snapshots []string
	// slots are network slots that have a namespace, mounts those whose namespace
	// is mounted; veths are the slots' links in the router, and uplinks the
	// links of this server beside it.
	slots, mounts []string
	veths         int
	uplinks       int
}

// takeInventory looks at the machine itself, and not at what the server says.
func takeInventory(dir string) (inventory, error) {
	state := filepath.Join(dir, "state")
	instance := layout.Layout{StateDir: state}.Instance()
	run := filepath.Join("/run/rundlet", instance)
	inv := inventory{machines: map[string]string{}}
	for _, file := range glob(filepath.Join(run, "vm/machines/*.json")) {
		var record struct{ ID, Key string }
		data, err := os.ReadFile(file)
		if err != nil {
			continue // It went in between; the keys below show if it should not.
		}
		if err := json.Unmarshal(data, &record); err != nil {
			return inv, fmt.Errorf("%s: %w", file, err)
		}
		inv.machines[record.ID] = record.Key
	}
	for _, path := range glob(filepath.Join(run, "vm/machines/*")) {
		if !strings.HasSuffix(path, ".json") {
			inv.bundles = append(inv.bundles, filepath.Base(path))
		}
	}
	for _, path := range glob(filepath.Join(run, "vm/runsc/*.state")) {
		key, _, _ := strings.Cut(filepath.Base(path), "_")
		inv.containers = append(inv.containers, key)
	}
	groups := map[string]bool{}
	for _, depth := range []string{"", "*"} { // one hierarchy, or one of each controller
		for _, path := range glob(filepath.Join("/sys/fs/cgroup", depth, "rundlet-"+instance, "*")) {
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				groups[filepath.Base(path)] = true
			}
		}
	}
	inv.groups = slices.Sorted(maps.Keys(groups))
	for _, path := range glob(filepath.Join(state, "drivers/gvisor/pending/*", instance, "*")) {
		inv.pending = append(inv.pending, filepath.Base(path))
	}
	for _, path := range glob(filepath.Join(state, "drivers/gvisor/snapshots/*/*")) {
		inv.snapshots = append(inv.snapshots, filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path))
	}
	inv.running = machineProcesses(filepath.Join(run, "vm/machines") + "/")
	return inv, inv.network(run, instance)
}

// network adds what there is of the network.
func (inv *inventory) network(run, instance string) error {
	for _, path := range glob(filepath.Join(run, "net/slots/*")) {
		inv.slots = append(inv.slots, filepath.Base(path))
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], run+"/net/slots/") {
			inv.mounts = append(inv.mounts, filepath.Base(fields[4]))
		}
	}
	slices.Sort(inv.mounts)
	inv.veths, err = vethsIn(filepath.Join(run, "net/router"))
	if err != nil {
		return err
	}
	links, err := netlink.LinkList()
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, instance) {
			inv.uplinks++
		}
	}
	return err
}

// vethsIn counts the links of slots in the router's namespace; 0 if there is no
// router.
func vethsIn(router string) (n int, err error) {
	ns, err := netns.GetFromPath(router)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", router, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	links, err := h.LinkList()
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "s-") {
			n++
		}
	}
	return n, err
}

// machineProcesses returns the keys of the machines that have a process.
func machineProcesses(machines string) []string {
	keys := map[string]bool{}
	for _, file := range glob("/proc/[0-9]*/cmdline") {
		data, _ := os.ReadFile(file) // It may have ended in between.
		for rest := string(data); ; {
			_, after, found := strings.Cut(rest, machines)
			if !found {
				break
			}
			key, _, _ := strings.Cut(strings.TrimSuffix(after, "\x00"), "/")
			keys[strings.SplitN(key, "\x00", 2)[0]] = true
			rest = after
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// glob is filepath.Glob of a pattern that is well-formed.
func glob(pattern string) []string {
	paths, _ := filepath.Glob(pattern)
	return paths
}
