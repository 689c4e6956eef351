package snapshot

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Present is an artifact as the driver has it.
type Present struct {
	// Ref is the artifact that it is the files of. For what no row is about it
	// is any text that no artifact is named by, such as VMID/SnapshotID.
	Ref Ref
	// VMID and SnapshotID are its name with the driver. Plan hands them back and
	// does not look at them.
	VMID, SnapshotID string
	// ModifiedAt is when it last changed on disk.
	ModifiedAt time.Time
}

// Deletion is an artifact that nothing needs.
type Deletion struct {
	Present
	Why string
}

// Missing is an artifact that has a row but no files. A row is never dropped
// for that: the files may be on a disk that is not mounted.
type Missing struct {
	Ref Ref
	// Referenced is set when something cannot be restored because of it.
	Referenced bool
}

// Plan decides which artifacts to delete: those on disk that no reference
// reaches, and that are at least minAge old. Both lists are sorted.
//
// References are whatever must be restorable: the pauses of sandboxes, the
// snapshots of templates, named snapshots and continuations until their user
// deletes them, and what a save, a build, a restore or a fork in flight works
// with. An artifact whose manifest cannot be decoded belongs there too.
//
// A reference to an artifact is one to its ancestors where the driver of the
// artifact makes differences. None of the drivers here does: a full snapshot is
// self-contained, so its parent can go while it stays.
//
// What is younger than minAge is left alone, row or no row: a save writes its
// files before its outcome. The age is that of the newer of files and row, and
// one in the future, after the clock was set back, counts as young. A row alone
// is Missing only when it is that old, since the intent comes before the files.
func Plan(present []Present, manifests []Manifest, references []Ref, now time.Time, minAge time.Duration) ([]Deletion, []Missing) {
	rows := map[Ref]Manifest{}
	for _, m := range manifests {
		rows[m.ID] = m
	}
	needed := reach(references, rows)
	old := func(t time.Time) bool { return now.Sub(t) >= max(minAge, 0) }

	var deletions []Deletion
	onDisk := map[Ref]bool{}
	for _, p := range present {
		onDisk[p.Ref] = true
		m, hasRow := rows[p.Ref]
		switch {
		case needed[p.Ref], !old(p.ModifiedAt), hasRow && !old(m.CreatedAt):
		case hasRow:
			deletions = append(deletions, Deletion{p, "no sandbox, template, continuation or build refers to it"})
		default:
			deletions = append(deletions, Deletion{p, "it has no row: its save was not finished, or its deletion was not"})
		}
	}
	slices.SortFunc(deletions, func(a, b Deletion) int {
		return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.VMID, b.VMID), cmp.Compare(a.SnapshotID, b.SnapshotID), a.ModifiedAt.Compare(b.ModifiedAt))
	})

	var missing []Missing
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if !onDisk[id] && old(rows[id].CreatedAt) {
			missing = append(missing, Missing{Ref: id, Referenced: needed[id]})
		}
	}
	return deletions, missing
}

// reach returns the references and what they need. Every artifact is looked at
// once, so a cycle ends it.
func reach(references []Ref, rows map[Ref]Manifest) map[Ref]bool {
	needed := map[Ref]bool{}
	for _, id := range references {
		for id != "" && !needed[id] {
			needed[id] = true
			m, ok := rows[id]
			if !ok || !ruleOf(m.Stamp.Driver).needsParents {
				break
			}
			id = m.Parent
		}
	}
	return needed
}
