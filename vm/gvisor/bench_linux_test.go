package gvisor

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

func ping(b *testing.B, d *Driver, id string) {
	b.Helper()
	if _, err := (client{d}).do(context.Background(), id, "GET", "/ping", ""); err != nil {
		b.Fatal(err)
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// source is a machine with a snapshot "one".
func source(b *testing.B) (*Driver, func() vm.Spec) {
	b.Helper()
	d := newDriver(b)
	ctx := context.Background()
	start(b, d, "a", guestSpec(b))
	ping(b, d, "a")
	must(b, d.Snapshot(ctx, "a", "one"))
	return d, func() vm.Spec {
		s := guestSpec(b)
		return vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, VCPUs: 2, MemoryMiB: 512,
			RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}}
	}
}

// measure times op alone, b.N times, and reports the median too: the mean of
// few operations on a busy machine says little.
func measure(b *testing.B, prepare, op, finish func(i int)) {
	b.Helper()
	b.StopTimer()
	var laps []time.Duration
	for i := range b.N {
		prepare(i)
		b.StartTimer()
		began := time.Now()
		op(i)
		laps = append(laps, time.Since(began))
		b.StopTimer()
		finish(i)
	}
	slices.Sort(laps)
	b.ReportMetric(float64(laps[len(laps)/2].Microseconds())/1000, "ms-p50")
}

func nothing(int) {}

func name(i int) string { return fmt.Sprint("m", i) }

func destroy(b *testing.B, d *Driver) func(i int) {
	return func(i int) { must(b, d.Destroy(context.Background(), name(i))) }
}

func BenchmarkColdStartToPing(b *testing.B) {
	d, _ := source(b)
	ctx := context.Background()
	var s vm.Spec
	measure(b, func(int) { s = guestSpec(b) }, func(i int) {
		must(b, d.Create(ctx, name(i), s))
		must(b, d.Start(ctx, name(i)))
		ping(b, d, name(i))
	}, destroy(b, d))
}

func BenchmarkRestoreToPing(b *testing.B) {
	d, spec := source(b)
	var s vm.Spec
	measure(b, func(int) { s = spec() }, func(i int) {
		must(b, d.Create(context.Background(), name(i), s))
		ping(b, d, name(i))
	}, destroy(b, d))
}

// BenchmarkBareRestore is the mechanism alone, without the guest's answer: its
// address is dialled by no driver.
func BenchmarkBareRestore(b *testing.B) {
	d, spec := source(b)
	var run, end func() error
	measure(b, func(int) {
		var err error
		run, end, err = d.Bare(spec())
		must(b, err)
	}, func(int) { must(b, run()) }, func(int) { must(b, end()) })
}

func BenchmarkRestore(b *testing.B) {
	d, spec := source(b)
	var s vm.Spec
	measure(b, func(int) { s = spec() },
		func(i int) { must(b, d.Create(context.Background(), name(i), s)) }, destroy(b, d))
}

func BenchmarkPreparedStartToPing(b *testing.B) {
	d, spec := source(b)
	ctx := context.Background()
	measure(b, func(i int) {
		s := spec()
		s.RestoreFrom.ResumeImmediately = false
		must(b, d.Create(ctx, name(i), s))
	}, func(i int) {
		must(b, d.Start(ctx, name(i)))
		ping(b, d, name(i))
	}, destroy(b, d))
}

func BenchmarkSnapshot(b *testing.B) {
	d, _ := source(b)
	measure(b, nothing, func(i int) { must(b, d.Snapshot(context.Background(), "a", name(i))) }, nothing)
}

func BenchmarkDestroy(b *testing.B) {
	d, spec := source(b)
	measure(b, func(i int) { must(b, d.Create(context.Background(), name(i), spec())) }, destroy(b, d), nothing)
}
