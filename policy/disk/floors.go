package disk

// Floors are the bytes that must be free on the disk before work of a kind is
// begun. Zero sets no floor.
type Floors struct {
	Restore, Save, Build, WarmPool int64
}

// FloorsFor returns the floors for a disk of a size: those of package disk, or
// less on a disk that is small: a tenth for a restore, a save and a build, a
// fifth for the warm pool.
func FloorsFor(total int64) Floors {
	return Floors{
		Restore: min(RestoreFloor, total/10), Save: min(SaveFloor, total/10),
		Build: min(BuildFloor, total/10), WarmPool: min(WarmPoolFloor, total/5),
	}
}
