package snapshot

import (
	"cmp"
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

// Plan decides which artifacts to delete, sorted: those on disk that nothing refers
// to, and that are at least minAge old.
//
// References are whatever must be restorable: the pauses of sandboxes, the
// snapshots of templates, named snapshots and continuations until their user
// deletes them, and what a save, a build, a restore or a fork in flight works
// with. A snapshot is whole: it needs no other one.
//
// What is younger than minAge is left alone: a save writes its files before its
// outcome. An age in the future, after the clock was set back, counts as young.
func Plan(present []Present, references []Ref, now time.Time, minAge time.Duration) []Deletion {
	needed := make(map[Ref]bool, len(references))
	for _, id := range references {
		needed[id] = true
	}
	var deletions []Deletion
	for _, p := range present {
		if !needed[p.Ref] && now.Sub(p.ModifiedAt) >= max(minAge, 0) {
			deletions = append(deletions, Deletion{p, "it has no row: its save was not finished, or its deletion was not"})
		}
	}
	slices.SortFunc(deletions, func(a, b Deletion) int {
		return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.VMID, b.VMID), cmp.Compare(a.SnapshotID, b.SnapshotID), a.ModifiedAt.Compare(b.ModifiedAt))
	})
	return deletions
}
