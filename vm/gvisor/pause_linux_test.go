package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// resumed is a restore of a snapshot of id, running, in a new network.
func resumed(t testing.TB, id, snapshot string) vm.Spec {
	s := guestSpec(t)
	return vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, MemoryMiB: 512,
		RestoreFrom: &vm.SnapshotRef{VMID: id, SnapshotID: snapshot, ResumeImmediately: true}}
}

func number(t *testing.T, d *Driver, id string) int {
	t.Helper()
	text, err := client{d}.do(testContext(t), id, "GET", "/count", "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s counts wrong: %s", id, text)
	}
	return n
}

// kinds counts host objects; their names have random parts.
func kinds(d *Driver) string {
	n := map[string]int{}
	for _, object := range leftovers(d) {
		kind, _, _ := strings.Cut(object, " ")
		n[kind]++
	}
	return fmt.Sprint(n)
}

// TestPauseCyclesLoseNothingAndLeaveNothing pauses and resumes one machine: each
// time all of it goes but its snapshot.
func TestPauseCyclesLoseNothingAndLeaveNothing(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	nothing := leftovers(d)
	start(t, d, "a", guestSpec(t))
	if _, err := (client{d}).do(ctx, "a", "POST", "/count", ""); err != nil {
		t.Fatal(err)
	}
	var objects string
	var open int
	var sizes []int64
	var laps []time.Duration
	last := ""
	for i := range 20 {
		before := number(t, d, "a")
		name := fmt.Sprint("pause-", i)
		began := time.Now()
		err := errors.Join(d.Stop(ctx, "a"), d.Snapshot(ctx, "a", name), d.Destroy(ctx, "a"), d.Forget(ctx, "a"))
		paused := time.Since(began)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			if err := d.DeleteSnapshot(ctx, "a", last); err != nil {
				t.Fatal(err)
			}
		}
		last, sizes = name, append(sizes, imageBytes(t, d, "a", name))
		if i == 2 {
			objects, open = kinds(d), openFiles(t, 0)
		} else if left, n := kinds(d), openFiles(t, open+2); i > 2 && (left != objects || n > open+2) {
			t.Fatalf("pause %d leaves %s and %d open files; %s and %d before", i, left, n, objects, open)
		}
		spec := resumed(t, "a", name)
		began = time.Now()
		if err := d.Create(ctx, "a", spec); err != nil {
			t.Fatal(err)
		}
		after := number(t, d, "a")
		laps = append(laps, paused+time.Since(began))
		if after < before {
			t.Fatalf("pause %d: the counter was %d and is %d", i, before, after)
		}
	}
	// The file grows by some bytes each millisecond that the guest runs.
	if first, last := sizes[2], sizes[len(sizes)-1]; last > first+first/4+1<<20 {
		t.Errorf("snapshots grew: %v", sizes)
	}
	// The shortest ones: the host has other things to do as well.
	if early, late := slices.Min(laps[1:7]), slices.Min(laps[14:]); late > 3*early {
		t.Errorf("cycles became slower: %v", laps)
	}
	t.Logf("a cycle takes %v to %v, a snapshot is %d to %d bytes", slices.Min(laps), slices.Max(laps), slices.Min(sizes), slices.Max(sizes))
	if err := errors.Join(d.Destroy(ctx, "a"), d.DeleteSnapshot(ctx, "a", last)); err != nil {
		t.Fatal(err)
	}
	if after := leftovers(d); !slices.Equal(nothing, after) {
		t.Errorf("before %q\nafter %q", nothing, after)
	}
}

// openFiles counts the open files of this process. gVisor leaves some to the
// collector, which is given a few turns to get below enough.
func openFiles(t *testing.T, enough int) (n int) {
	t.Helper()
	// Some are closed when a collection of garbage finds them, a moment later.
	bound := 30 * time.Second
	if enough == 0 {
		bound = 500 * time.Millisecond // They are only counted.
	}
	for deadline := time.Now().Add(bound); ; <-time.After(20 * time.Millisecond) {
		runtime.GC()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		if n = len(entries); n <= enough || time.Now().After(deadline) {
			return n
		}
	}
}

func TestFiveGenerationsDoNotGrow(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "g0", guestSpec(t))
	if out, err := (client{d}).do(ctx, "g0", "POST", "/dirty/20", ""); err != nil || out != "<nil>" {
		t.Fatal(out, err)
	}
	var sizes []int64
	for i := range 5 {
		id, next := fmt.Sprint("g", i), fmt.Sprint("g", i+1)
		err := errors.Join((client{d}).Write(ctx, id, id, "memory"), disk{client{d}}.Write(ctx, id, id, "file"),
			d.Snapshot(ctx, id, "s"))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, imageBytes(t, d, id, "s"))
		create(t, d, next, resumed(t, id, "s"))
	}
	for i := range 5 {
		key := fmt.Sprint("g", i)
		memory, err1 := client{d}.Read(ctx, "g5", key)
		file, err2 := disk{client{d}}.Read(ctx, "g5", key)
		if memory != "memory" || file != "file" || err1 != nil || err2 != nil {
			t.Errorf("of %s are left %q and %q: %v, %v", key, memory, file, err1, err2)
		}
	}
	if sizes[4] > sizes[0]+4<<20 {
		t.Errorf("snapshots grew: %v", sizes)
	}
	t.Logf("sizes %v", sizes)
}

func TestTenRestoresOfOneSnapshotTwoAtATime(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	if err := errors.Join((client{d}).Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "one")); err != nil {
		t.Fatal(err)
	}
	var specs []vm.Spec
	for range 10 {
		specs = append(specs, resumed(t, "a", "one"))
	}
	turns := make(chan struct{}, 2)
	began := time.Now()
	all(t, len(specs), func(i int) error {
		turns <- struct{}{}
		defer func() { <-turns }()
		id := fmt.Sprint("f", i)
		if err := d.Create(ctx, id, specs[i]); err != nil {
			return err
		}
		return client{d}.Write(ctx, id, "self", id)
	})
	t.Logf("10 forks answer after %v", time.Since(began))
	for i := range specs {
		id := fmt.Sprint("f", i)
		k, err1 := client{d}.Read(ctx, id, "k")
		self, err2 := client{d}.Read(ctx, id, "self")
		if k != "v" || self != id || err1 != nil || err2 != nil {
			t.Errorf("%s has %q and %q: %v, %v", id, k, self, err1, err2)
		}
		if err := d.Destroy(ctx, id); err != nil {
			t.Error(err)
		}
	}
}

// TestSnapshotWithOpenConnections forks a machine in the middle of a
// conversation in both directions: its own goes on, the fork's is over.
func TestSnapshotWithOpenConnections(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	spec := guestSpec(t)
	start(t, d, "a", spec)
	gateway := net.ParseIP(spec.GuestIP).To4()
	gateway[3]--
	host, err := net.Listen("tcp", net.JoinHostPort(gateway.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	c := client{d}
	for _, path := range []string{"/connect/" + host.Addr().String(), "/exchange"} {
		if out, err := c.do(ctx, "a", "POST", path, ""); err != nil || out != "<nil>" {
			t.Fatal(path, out, err)
		}
	}
	busy, stop := context.WithCancel(ctx)
	var talks sync.WaitGroup
	for range 3 {
		conn, err := d.Dial(ctx, "a", 7)
		if err != nil {
			t.Fatal(err)
		}
		talks.Go(func() {
			defer conn.Close()
			for i := 0; busy.Err() == nil; i++ {
				if err := echo(conn, byte(i)); err != nil {
					t.Errorf("round %d: %v", i, err)
					return
				}
			}
		})
	}
	err = d.Snapshot(ctx, "a", "busy")
	create(t, d, "fork", resumed(t, "a", "busy"))
	stop()
	talks.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.do(ctx, "a", "POST", "/exchange", ""); err != nil || out != "<nil>" {
		t.Errorf("the original's connection: %s, %v", out, err)
	}
	out, err := c.do(ctx, "fork", "POST", "/exchange", "")
	if err != nil || out == "<nil>" {
		t.Errorf("the fork goes on with a conversation that is not its own: %s, %v", out, err)
	}
	t.Logf("in the fork: %s", out)
	conn, err := d.Dial(ctx, "fork", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := echo(conn, 1); err != nil {
		t.Error(err)
	}
}

func echo(conn net.Conn, b byte) error {
	if _, err := conn.Write([]byte{b}); err != nil {
		return err
	}
	var back [1]byte
	if _, err := io.ReadFull(conn, back[:]); err != nil {
		return err
	}
	if back[0] != b {
		return fmt.Errorf("sent %d, got %d", b, back[0])
	}
	return nil
}

func TestSnapshotOfMuchMemoryStaysWithinTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	d := newDriver(t)
	ctx := testContext(t)
	spec := guestSpec(t)
	spec.MemoryMiB = 600
	start(t, d, "a", spec)
	if out, err := (client{d}).do(ctx, "a", "POST", "/dirty/500", ""); err != nil || out != "<nil>" {
		t.Fatal(out, err)
	}
	began := time.Now()
	if err := d.Snapshot(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	saved := time.Since(began)
	fork := resumed(t, "a", "one")
	fork.MemoryMiB = 600
	began = time.Now()
	create(t, d, "b", fork)
	for _, id := range []string{"a", "b"} {
		if out, err := (client{d}).do(ctx, id, "GET", "/ping", ""); err != nil || out != "pong" {
			t.Errorf("%s: %q, %v", id, out, err)
		}
	}
	t.Logf("saved in %v, restored and answering in %v, %d bytes", saved, time.Since(began), imageBytes(t, d, "a", "one"))
}
