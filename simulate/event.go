package simulate

// event is what happens at a time, to a machine or to the whole node. The digest of a
// run has the numbers: a new event comes last.
type event uint8

const (
	arrive event = iota
	burst
	burstArrival
	landed
	landFailed
	expired
	grown
	leave
	pauseNow
	paused
	resumeNow
	killed
	killFailed
	tick
	pressureOn
	pressureOff
	rebuild
	sicken
	heal
	crash
	restart
	retry
	sweep
	rested
	finish
)
