package simulate

import (
	"slices"
	"time"
)

// Scenario is a kind of day. Zero means that it does not happen; times are means.
type Scenario struct {
	Name string
	// Rate is the arrivals per second at the busiest hour; Day makes nights quiet.
	Rate float64
	Day  bool
	// Bursts of 10 to 40 arrivals within five seconds.
	Bursts time.Duration
	// Life is the median life of a sandbox, lognormal up to an hour.
	Life time.Duration
	// Pauses is the share of sandboxes that is paused and resumed.
	Pauses float64
	// Pressure is something else on the host that takes memory or disk, for
	// Length, so that the reserve is touched. Severe is the share that takes more
	// than the pool can give back.
	Pressure, Length time.Duration
	Severe           float64
	// Rebuild gives a template a new snapshot, Sick makes the launches of one
	// template fail half of the time for some minutes, Crash kills the daemon.
	Rebuild, Sick, Crash time.Duration
}

// Scenarios are the day and the scenarios of the autoscale contract.
var Scenarios = []Scenario{
	{Name: "day", Rate: 0.06, Day: true, Bursts: 30 * time.Minute, Life: 90 * time.Second, Pauses: 0.15,
		Pressure: 3 * time.Hour, Length: 5 * time.Minute, Severe: 0.2, Rebuild: 4 * time.Hour, Sick: 6 * time.Hour, Crash: 8 * time.Hour},
	{Name: "steady_idle", Rate: 0.002, Life: 60 * time.Second},
	{Name: "interactive_burst", Rate: 0.02, Bursts: 5 * time.Minute, Life: 30 * time.Second},
	{Name: "pressure_shrink", Rate: 0.05, Life: 60 * time.Second, Pressure: 15 * time.Minute, Length: 5 * time.Minute, Severe: 0.5},
	{Name: "pressure_recovery", Rate: 0.02, Life: 60 * time.Second, Pressure: 10 * time.Minute, Length: 30 * time.Second},
	{Name: "mixed_active_and_idle", Rate: 0.025, Life: 10 * time.Minute, Pauses: 0.3, Pressure: 30 * time.Minute, Length: 3 * time.Minute, Severe: 0.3},
	{Name: "churn", Rate: 0.5, Life: 5 * time.Second, Rebuild: 10 * time.Minute, Sick: 20 * time.Minute, Crash: 40 * time.Minute},
}

// Find returns the scenario of a name.
func Find(name string) (Scenario, bool) {
	i := slices.IndexFunc(Scenarios, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		return Scenario{}, false
	}
	return Scenarios[i], true
}
