package latency

// Tier says what a number of samples is good for.
type Tier string

// The tiers, each with the samples it needs.
const (
	SmokeOnly           Tier = "smoke_only"             // fewer than 3
	SuperfastIteration  Tier = "superfast_iteration"    // 3
	FastIteration       Tier = "fast_iteration"         // 5
	BaselineCheckpoint  Tier = "baseline_checkpoint"    // 10
	P50P90DecisionGrade Tier = "p50_p90_decision_grade" // 30
	P95DecisionGrade    Tier = "p95_decision_grade"     // 100; 30 in a family whose samples are dear
	P99DecisionGrade    Tier = "p99"                    // 500
)

// Family is what kind of thing is measured.
type Family int

// The families. A sample of all but FamilyLifecycle takes long to make, so that fewer
// are enough for their 95th percentile.
const (
	FamilyLifecycle Family = iota
	FamilyDensity
	FamilyDisk
)

const (
	samplesForP50     = 30
	samplesForP95     = 100
	samplesForDearP95 = 30
	samplesForP99     = 500
)

// samplesFor is how many samples a decision on a percentile needs.
func (f Family) samplesFor(percentile int) int {
	switch {
	case percentile <= 90:
		return samplesForP50
	case percentile > 95:
		return samplesForP99
	case f == FamilyLifecycle:
		return samplesForP95
	}
	return samplesForDearP95
}

// TierOf is the tier of n samples.
func TierOf(n int, f Family) Tier {
	switch {
	case n >= samplesForP99:
		return P99DecisionGrade
	case n >= f.samplesFor(95):
		return P95DecisionGrade
	case n >= samplesForP50:
		return P50P90DecisionGrade
	case n >= 10:
		return BaselineCheckpoint
	case n >= 5:
		return FastIteration
	case n >= 3:
		return SuperfastIteration
	}
	return SmokeOnly
}

// Supports reports whether a decision may rest on a percentile of that many
// samples.
func (t Tier) Supports(percentile int) bool {
	switch t {
	case P99DecisionGrade:
		return percentile <= 99
	case P95DecisionGrade:
		return percentile <= 95
	case P50P90DecisionGrade:
		return percentile <= 90
	}
	return false
}
