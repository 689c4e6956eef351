package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

// BenchmarkOverhead measures what a sandbox needs of the host beyond its guest's
// memory: running, at the peak of a save, and at the peak of a restore. The
// constants of budget.go and headroom.go are upper bounds of these.
func BenchmarkOverhead(b *testing.B) {
	for _, load := range []struct {
		name  string
		args  []string
		count float64
	}{
		{"nothing", nil, 1},
		{"files=10000", []string{"/init", "files", "10000"}, 10000},
		{"files=50000", []string{"/init", "files", "50000"}, 50000},
		{"files=100000", []string{"/init", "files", "100000"}, 100000},
		{"memory=100MiB", nil, 100},
		{"memory=400MiB", nil, 400},
		{"processes=50", []string{"/init", "processes", "50"}, 50},
		{"processes=200", []string{"/init", "processes", "200"}, 200},
	} {
		b.Run(load.name, func(b *testing.B) {
			for range b.N {
				measureOverhead(b, load.name, load.args, load.count)
			}
		})
	}
}

func measureOverhead(b *testing.B, name string, args []string, count float64) {
	d := newDriver(b)
	ctx := b.Context()
	s := guestSpec(b)
	s.VCPUs, s.MemoryMiB = 2, 4096
	start(b, d, "a", s)
	ping(b, d, "a")
	before := groupUse(b, d, "a")
	switch {
	case args != nil:
		if text, err := (client{d}).run(ctx, "a", "", args...); err != nil || text != "done" {
			b.Fatal(text, err)
		}
	case count > 1:
		if text, err := (client{d}).do(ctx, "a", "POST", fmt.Sprintf("/dirty/%d", int(count)), ""); err != nil {
			b.Fatal(text, err)
		}
	}
	<-time.After(2 * time.Second) // A figure of a sandbox at rest.
	running := groupUse(b, d, "a")
	b.ReportMetric(float64(running.own-before.own)/1024/count, "own-KiB/each")
	b.ReportMetric(float64(running.kernel-before.kernel)/1024/count, "kernel-KiB/each")
	b.ReportMetric(float64(running.threads-before.threads)/count, "threads/each")
	b.ReportMetric(float64(running.own)/budget.MiB, "own-MiB")
	must(b, os.WriteFile(mustFind(b, d, "a").group.MemoryFile("memory.max_usage_in_bytes", "memory.peak"), []byte("0"), 0))
	peak := watchPeak(d, "a", func() { must(b, d.Snapshot(ctx, "a", "one")) })
	b.ReportMetric(float64(peak.own-running.own)/float64(running.own), "save-own/own")
	objects := int64(0)
	entries, _ := os.ReadDir(d.dirs.Snapshot("a", "one"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && filepath.Ext(e.Name()) == ".img" && e.Name() != "pages.img" {
			objects += info.Size()
		}
	}
	r := guestSpec(b)
	r.VCPUs, r.MemoryMiB, r.RestoreFrom = 2, 4096, &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}
	peak = watchPeak(d, "b", func() { must(b, d.Create(ctx, "b", r)) })
	b.ReportMetric(float64(objects)/budget.MiB, "objects-MiB")
	b.ReportMetric(float64(peak.own)/budget.MiB, "load-own-MiB")
	b.ReportMetric(float64(peak.own-before.own)/float64(objects), "load-own/objects")
	must(b, d.Destroy(ctx, "a"))
	must(b, d.Destroy(ctx, "b"))
}

type use struct{ own, kernel, threads int64 }

func groupUse(tb testing.TB, d *Driver, id string) use {
	tb.Helper()
	u, err := readUse(d, id)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func readUse(d *Driver, id string) (u use, err error) {
	m := d.unfinished(id)
	if m == nil || m.group == nil {
		return u, os.ErrNotExist
	}
	if u.own, err = m.group.MemoryOf(cgroups.OwnMemory); err != nil {
		return u, err
	}
	all, threads, err := m.group.Usage()
	if err != nil {
		return u, err
	}
	cache, err := m.group.MemoryOf([]string{"cache", "file"})
	u.kernel, u.threads = all-u.own-cache, threads
	return u, err
}

// watchPeak is the most that the machine had for itself while f ran.
func watchPeak(d *Driver, id string, f func()) (peak use) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				if u, err := readUse(d, id); err == nil {
					peak.own, peak.kernel = max(peak.own, u.own), max(peak.kernel, u.kernel)
				}
			}
		}
	}()
	f()
	close(stop)
	<-done
	return peak
}
