package gvisor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// dirtied is a running machine "a" that has written mib to its disk.
func dirtied(b *testing.B, mib int) (*Driver, vm.Spec) {
	b.Helper()
	d := newDriver(b)
	spec := guestSpec(b)
	start(b, d, "a", spec)
	ping(b, d, "a")
	if out := run(b, d, "a", "", "/init", "write", "/tmp/big", fmt.Sprint(mib)); out != "ok" {
		b.Fatal(out)
	}
	return d, spec
}

func BenchmarkFilesystemSnapshot(b *testing.B) {
	for _, mib := range []int{0, 100} {
		b.Run(fmt.Sprint(mib, "MiB"), func(b *testing.B) {
			d, _ := dirtied(b, mib)
			ctx := context.Background()
			measure(b, nothing, func(i int) { must(b, d.SnapshotFilesystem(ctx, "a", name(i))) },
				func(i int) { must(b, d.DeleteSnapshot(ctx, "a", name(i))) })
		})
	}
}

func BenchmarkFilesystemRestoreToPing(b *testing.B) {
	for _, mib := range []int{0, 100} {
		b.Run(fmt.Sprint(mib, "MiB"), func(b *testing.B) {
			d, spec := dirtied(b, mib)
			ctx := context.Background()
			must(b, d.SnapshotFilesystem(ctx, "a", "one"))
			spec.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}
			var s vm.Spec
			measure(b, func(int) {
				s = spec
				n := guestSpec(b)
				s.NetNS, s.GuestIP = n.NetNS, n.GuestIP
			}, func(i int) {
				must(b, d.Create(ctx, name(i), s))
				ping(b, d, name(i))
			}, destroy(b, d))
		})
	}
}

// BenchmarkFreeze measures how long a loop in the guest stands still while its
// machine is saved.
func BenchmarkFreeze(b *testing.B) {
	for _, mib := range []string{"0", "100"} {
		for kind, save := range map[string]func(*Driver, string) error{
			"memory": func(d *Driver, name string) error { return d.Snapshot(context.Background(), "a", name) },
			"files":  func(d *Driver, name string) error { return d.SnapshotFilesystem(context.Background(), "a", name) },
			"none":   func(*Driver, string) error { return nil },
		} {
			b.Run(mib+"MiB/"+kind, func(b *testing.B) {
				d := newDriver(b)
				start(b, d, "a", guestSpec(b))
				if out, err := (client{d}).do(context.Background(), "a", "POST", "/dirty/"+mib, ""); err != nil || out != "<nil>" {
					b.Fatal(out, err)
				}
				var still []float64
				for i := range b.N {
					still = append(still, frozen(b, d, func() { must(b, save(d, name(i))) }))
					must(b, d.DeleteSnapshot(context.Background(), "a", name(i)))
				}
				slices.Sort(still)
				b.ReportMetric(still[len(still)/2]/1000, "ms-still-p50")
				b.ReportMetric(still[len(still)-1]/1000, "ms-still-max")
			})
		}
	}
}

// frozen is the longest time in microseconds that the guest's loop stood still
// during do.
func frozen(b *testing.B, d *Driver, do func()) (micros float64) {
	b.Helper()
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialReady(ctx, d, "a") }}}
	body, end := io.Pipe()
	req, err := http.NewRequest("GET", "http://guest/pace", body)
	must(b, err)
	resp, err := h.Do(req)
	must(b, err)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); !strings.HasPrefix(line, "begun") {
		b.Fatal(line, err)
	}
	do()
	must(b, end.Close())
	var rounds int
	if _, err := fmt.Fscan(lines, &micros, &rounds); err != nil {
		b.Fatal(err)
	}
	return micros
}

// BenchmarkForkToPing is one snapshot of a running machine and as many machines
// from it, two at a time; the time is of all together.
func BenchmarkForkToPing(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newDriver(b)
			start(b, d, "a", guestSpec(b))
			ping(b, d, "a")
			ctx := context.Background()
			var specs []vm.Spec
			measure(b, func(i int) {
				specs = nil
				for range n {
					s := resumed(b, "a", name(i))
					specs = append(specs, s)
				}
			}, func(i int) {
				must(b, d.Snapshot(ctx, "a", name(i)))
				turns := make(chan struct{}, 2)
				done := make(chan error, n)
				for j, s := range specs {
					go func() {
						turns <- struct{}{}
						defer func() { <-turns }()
						id := fmt.Sprint("f", i, "-", j)
						err := d.Create(ctx, id, s)
						if err == nil {
							_, err = client{d}.do(ctx, id, "GET", "/ping", "")
						}
						done <- err
					}()
				}
				for range specs {
					must(b, <-done)
				}
			}, func(i int) {
				for j := range specs {
					must(b, d.Destroy(ctx, fmt.Sprint("f", i, "-", j)))
				}
				must(b, d.DeleteSnapshot(ctx, "a", name(i)))
			})
		})
	}
}
