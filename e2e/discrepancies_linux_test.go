package e2e

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
)

// discrepancies lists every violation that there is now.
func (n *node) discrepancies(ctx context.Context, snapshots []string) (wrong []string, err error) {
	instance := layout.Layout{StateDir: filepath.Join(n.dir, "state")}.Instance()
	rows, err := n.db.Sandboxes.Live(ctx, instance)
	if err != nil {
		return nil, err
	}
	killed, err := n.db.Sandboxes.Killed(ctx, 1<<20)
	if err != nil {
		return nil, err
	}
	claims, err := n.db.Snapshots.Claims(ctx)
	if err != nil {
		return nil, err
	}
	templates, err := n.db.Templates.All(ctx)
	if err != nil {
		return nil, err
	}
	inv, err := takeInventory(n.dir)
	if err != nil {
		return nil, err
	}
	metrics, err := n.metrics(ctx)
	if err != nil {
		return nil, err
	}
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	extra := maps.Clone(inv.machines)
	held := map[string]string{}
	for _, row := range rows {
		_, has := inv.machines[row.ID]
		delete(extra, row.ID)
		switch row.State {
		case "running":
			if !has {
				report("%s runs without a machine", row.ID)
			}
			if !slices.Contains(inv.slots, row.SlotID) {
				report("%s runs without its slot %q", row.ID, row.SlotID)
			}
		case "paused":
			if has {
				report("%s is paused and has a machine", row.ID)
			}
			held[row.SnapshotID] = row.ID
		default:
			report("stuck: %s is %s", row.ID, row.State)
		}
	}
	for _, row := range killed {
		if row.Reason == "" {
			report("%s was ended without a reason", row.ID)
		}
		if _, has := extra[row.ID]; has {
			report("%s was ended and has a machine", row.ID)
		}
	}
	wrong = append(wrong, counted(metrics, rows, len(extra))...)
	wrong = append(wrong, claimed(claims, templates, held, snapshots, inv)...)
	return append(wrong, inv.discrepancies()...), nil
}

// counted lists what the server's own figures have wrong. spare is how many
// machines belong to no sandbox.
func counted(metrics map[string]float64, rows []store.Sandbox, spare int) (wrong []string) {
	want := map[string]float64{
		`rundlet_sandboxes_stuck`:                              0,
		`rundlet_capacity_launches_reserved{for="active"}`:     0,
		`rundlet_capacity_sandboxes_reserved{for="active"}`:    0,
		`rundlet_capacity_cpus_reserved{for="active"}`:         0,
		`rundlet_capacity_memory_reserved_bytes{for="active"}`: 0,
		`rundlet_capacity_sandboxes_reserved{for="warm"}`:      float64(spare),
	}
	for _, row := range rows {
		if row.State == "running" {
			want[`rundlet_capacity_sandboxes_reserved{for="active"}`]++
			want[`rundlet_capacity_cpus_reserved{for="active"}`] += float64(row.VCPUs)
			want[`rundlet_capacity_memory_reserved_bytes{for="active"}`] += float64(row.MemoryMiB << 20)
		}
	}
	for name, value := range want {
		if got, ok := metrics[name]; !ok || got != value {
			wrong = append(wrong, fmt.Sprintf("%s is %v (%v), want %v", name, got, ok, value))
		}
	}
	if pooled := metrics[`rundlet_warm_pool_ready{pool="base"}`] + metrics[`rundlet_warm_pool_prepared{pool="base"}`]; pooled != float64(spare) {
		wrong = append(wrong, fmt.Sprintf("%d machines belong to no sandbox, and the pool has %v", spare, pooled))
	}
	return wrong
}

// claimed lists what is wrong with the claims on snapshots. held are the claims
// of paused sandboxes.
func claimed(claims []store.Snapshot, templates []store.Template, held map[string]string, snapshots []string, inv inventory) (wrong []string) {
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	want := map[string]bool{}
	for _, t := range templates {
		want[t.VMID+"/"+t.Snapshot] = true
	}
	var listed []string
	for _, c := range claims {
		want[c.VMID+"/"+c.Snapshot] = true
		switch {
		case c.State != store.SnapshotReady:
			report("the claim %s of %s is %s", c.ID, c.Source, c.State)
		case c.Kind == "snapshot":
			listed = append(listed, c.ID)
		case held[c.ID] == "":
			report("a claim without an owner: %s %s of %s", c.Kind, c.ID, c.Source)
		}
		delete(held, c.ID)
	}
	for id, sandbox := range held {
		report("%s is paused without what it resumes from, %q", sandbox, id)
	}
	if listed, snapshots := slices.Sorted(slices.Values(listed)), slices.Sorted(slices.Values(snapshots)); !slices.Equal(listed, snapshots) {
		report("there are the snapshots %v, and should be %v", listed, snapshots)
	}
	if names := slices.Sorted(maps.Keys(want)); !slices.Equal(names, inv.snapshots) {
		report("%v are saved, and claimed are %v", inv.snapshots, names)
	}
	return wrong
}

// discrepancies lists what does not belong to a machine, or is missing of one.
func (inv inventory) discrepancies() (wrong []string) {
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	keys := slices.Sorted(maps.Values(inv.machines))
	for what, found := range map[string][]string{
		"directories": inv.bundles, "containers": inv.containers, "control groups": inv.groups, "processes": inv.running,
	} {
		if !slices.Equal(keys, found) {
			report("there are %s of %v, and machines %v", what, found, keys)
		}
	}
	for _, key := range inv.pending {
		if !slices.Contains(keys, key) {
			report("%s is pending and no machine's", key)
		}
	}
	if n := len(keys) + networkSlots; len(inv.slots) != n {
		report("%d slots for %d machines and %d ahead", len(inv.slots), len(keys), networkSlots)
	}
	if !slices.Equal(inv.slots, inv.mounts) {
		report("slots %v are not the mounts %v", inv.slots, inv.mounts)
	}
	if inv.veths != len(inv.slots) {
		report("%d links in the router for %d slots", inv.veths, len(inv.slots))
	}
	return wrong
}
