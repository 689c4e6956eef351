package world

// Event is what happens at a time, to a machine or to the whole node.
type Event uint8

// Events are handled by the daemon, where they are about its machines or itself, or
// else by the node. The digest of a run has their numbers: a new event comes last.
const (
	Arrive Event = iota
	Burst
	BurstArrival // of one of the requests of a burst
	Landed       // a launch has succeeded
	LandFailed
	Expired // a request has waited for too long
	Grown   // a sandbox has begun to use what it was promised
	Leave   // a sandbox has lived for as long as it was to
	PauseNow
	Paused
	ResumeNow
	Killed
	KillFailed
	Tick // the next sample of the host
	PressureOn
	PressureOff
	Rebuild
	Sicken
	Heal
	Crash
	Restart
	Retry  // to kill a machine
	Sweep  // the warm pool may launch again
	Rested // the warm pool may refill again
	Finish // the end of the traffic
)
