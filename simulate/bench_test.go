package simulate

import (
	"testing"
	"time"
)

// BenchmarkADayOfOneNode is what a fleet takes for each of its nodes.
func BenchmarkADayOfOneNode(b *testing.B) {
	s, _ := Find("day")
	var events uint64
	seed := uint64(1)
	for b.Loop() {
		events += Run(Config{Scenario: s, Duration: 24 * time.Hour, Seed: seed}).Events
		seed++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
}
