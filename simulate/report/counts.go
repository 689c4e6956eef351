package report

// Counts only grow.
type Counts struct {
	Events   uint64 `json:"events"`
	Requests uint64 `json:"requests"`
	// AtOnce were served without a wait, Queued after one. These two, Expired and
	// Refused add up to the requests.
	AtOnce uint64 `json:"at_once"`
	Queued uint64 `json:"queued"`
	// Expired gave up in the queue or lost their place by a crash.
	Expired uint64 `json:"expired"`
	// Refused were not let in: the host was out of room, or the daemon down.
	Refused uint64 `json:"refused"`
	Hits    uint64 `json:"hits"`
	// Misses include those that did not get an entry as others of their tenant
	// waited.
	Misses uint64 `json:"misses"`
	// Yielded entries made room for active work; Retired ones were too old, stale
	// or too many.
	Yielded uint64 `json:"yielded"`
	Retired uint64 `json:"retired"`
	// CreateFailures and LaunchFailures failed for a tenant and for the pool.
	CreateFailures uint64 `json:"create_failures"`
	LaunchFailures uint64 `json:"launch_failures"`
	KillRetries    uint64 `json:"kill_retries"`
	Crashes        uint64 `json:"crashes"`
	// After a crash sandboxes and machines were Recovered, CleanedUp or Quarantined.
	// Lost are the sandboxes among them that ended with the crash's damage.
	Recovered   uint64 `json:"recovered"`
	CleanedUp   uint64 `json:"cleaned_up"`
	Quarantined uint64 `json:"quarantined"`
	Lost        uint64 `json:"lost"`
	// Episodes of pressure, and changes of the state of the scaler.
	Episodes     uint64 `json:"pressure_episodes"`
	StateChanges uint64 `json:"state_changes"`

	ActiveEvictions uint64 `json:"active_evictions"`
	FloorViolations uint64 `json:"reserve_floor_violations"`
	// Leftover is what was there after the end.
	Leftover uint64 `json:"leftover"`
	// Violations counts all broken invariants, those above included.
	Violations uint64 `json:"violations"`
}

func (c *Counts) add(o Counts) {
	mine, theirs := c.all(), o.all()
	for i := range mine {
		*mine[i] += *theirs[i]
	}
}

func (c *Counts) all() []*uint64 {
	return []*uint64{
		&c.Events, &c.Requests, &c.AtOnce, &c.Queued, &c.Expired, &c.Refused, &c.Hits, &c.Misses, &c.Yielded, &c.Retired,
		&c.CreateFailures, &c.LaunchFailures, &c.KillRetries, &c.Crashes, &c.Recovered, &c.CleanedUp, &c.Quarantined, &c.Lost,
		&c.Episodes, &c.StateChanges,
		&c.ActiveEvictions, &c.FloorViolations, &c.Leftover, &c.Violations,
	}
}
