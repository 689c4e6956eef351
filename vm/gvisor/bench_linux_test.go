package gvisor

import (
	"context"
	"fmt"
	"testing"

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

func BenchmarkColdStartToPing(b *testing.B) {
	d, _ := source(b)
	ctx := context.Background()
	for i := range b.N {
		b.StopTimer()
		spec, id := guestSpec(b), fmt.Sprint("m", i)
		b.StartTimer()
		must(b, d.Create(ctx, id, spec))
		must(b, d.Start(ctx, id))
		ping(b, d, id)
		b.StopTimer()
		must(b, d.Destroy(ctx, id))
		b.StartTimer()
	}
}

func BenchmarkRestoreToPing(b *testing.B) {
	d, spec := source(b)
	ctx := context.Background()
	for i := range b.N {
		b.StopTimer()
		s, id := spec(), fmt.Sprint("m", i)
		b.StartTimer()
		must(b, d.Create(ctx, id, s))
		ping(b, d, id)
		b.StopTimer()
		must(b, d.Destroy(ctx, id))
		b.StartTimer()
	}
}

// BenchmarkBareRestore is the mechanism alone, without the guest's answer: its
// address is dialled by no driver.
func BenchmarkBareRestore(b *testing.B) {
	d, spec := source(b)
	for range b.N {
		b.StopTimer()
		bare, err := d.Bare(spec())
		must(b, err)
		b.StartTimer()
		must(b, bare.Restore())
		b.StopTimer()
		must(b, bare.Destroy())
		b.StartTimer()
	}
}

func BenchmarkRestore(b *testing.B) {
	d, spec := source(b)
	ctx := context.Background()
	for i := range b.N {
		b.StopTimer()
		s, id := spec(), fmt.Sprint("m", i)
		b.StartTimer()
		must(b, d.Create(ctx, id, s))
		b.StopTimer()
		must(b, d.Destroy(ctx, id))
		b.StartTimer()
	}
}

func BenchmarkPreparedStartToPing(b *testing.B) {
	d, spec := source(b)
	ctx := context.Background()
	for i := range b.N {
		b.StopTimer()
		s, id := spec(), fmt.Sprint("m", i)
		s.RestoreFrom.ResumeImmediately = false
		must(b, d.Create(ctx, id, s))
		b.StartTimer()
		must(b, d.Start(ctx, id))
		ping(b, d, id)
		b.StopTimer()
		must(b, d.Destroy(ctx, id))
		b.StartTimer()
	}
}

func BenchmarkSnapshot(b *testing.B) {
	d, _ := source(b)
	ctx := context.Background()
	for i := range b.N {
		must(b, d.Snapshot(ctx, "a", fmt.Sprint("s", i)))
	}
}

func BenchmarkDestroy(b *testing.B) {
	d, spec := source(b)
	ctx := context.Background()
	for i := range b.N {
		b.StopTimer()
		id := fmt.Sprint("m", i)
		must(b, d.Create(ctx, id, spec()))
		b.StartTimer()
		must(b, d.Destroy(ctx, id))
	}
}
