package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

// TestManyPausesAndResumesLoseNothingAndStayAsFast pauses and resumes one
// sandbox with a process that counts and a file that grows.
func TestManyPausesAndResumesLoseNothingAndStayAsFast(t *testing.T) {
	cycles := 12
	if *soak {
		cycles = 200
	}
	n := newNode(t)
	sb, err := n.api.Create(t.Context(), "base", live)
	if err != nil {
		t.Fatal(err)
	}
	c := &cycler{node: n, counter: startCounter(t, n.api, sb)}
	warmUp := cycles / 10
	var first usage
	var sizes []int64
	for i := range cycles {
		sizes = append(sizes, c.cycle(t, i))
		if i == warmUp {
			first = c.usage(t)
		}
		if t.Failed() {
			t.Fatalf("in cycle %d", i)
		}
		if *soak && (i+1)%20 == 0 {
			t.Logf("%d of %d cycles, the last in %v", i+1, cycles, c.took[i])
		}
	}
	n.checkConsistent(t)
	last := c.usage(t)
	await(t, func() ([]string, error) { // the ends of what was streamed, too
		if last = c.usage(t); last.exceeds(first) {
			return []string{fmt.Sprintf("it grew from %+v to %+v", first, last)}, nil
		}
		return nil, nil
	})
	quarter := cycles / 4
	slow, fast := median(c.took[cycles-quarter:]), median(c.took[:quarter])
	record(t, "pause and resume cycles", map[string]any{"cycles": cycles, "counted": c.seen,
		"median_ms_first_quarter": fast.Milliseconds(), "median_ms_last_quarter": slow.Milliseconds(),
		"snapshot_bytes_first": sizes[warmUp], "snapshot_bytes_last": sizes[cycles-1],
		"daemon_fds_first": first.fds, "daemon_fds_last": last.fds, "daemon_rss_kib_first": first.rss, "daemon_rss_kib_last": last.rss})
	if quarter >= 50 && slow > 2*fast {
		t.Errorf("a cycle took %v at first and %v at last", fast, slow)
	}
	// What the agent leaves on its heap is in a snapshot until Go collects it, at 4 MiB.
	const heap = 4 << 20
	if sizes[cycles-1] > sizes[warmUp]*3/2+heap {
		t.Errorf("a snapshot had %d bytes at first and %d at last", sizes[warmUp], sizes[cycles-1])
	}
	pauses := 3
	if *soak {
		pauses = cycles
	}
	for _, auto := range []bool{true, false} {
		n.requestsThroughPauses(t, pauses, auto)
	}
	n.finish(t)
}

// cycler is the sandbox that is paused and resumed.
type cycler struct {
	*node
	*counter
	took []time.Duration
}

// usage is what must not grow.
type usage struct {
	fds, mounts, groups, processes int
	rss                            int // KiB
}

// exceeds reports whether there is more than there was. The connections of
// clients may go or stay, and the memory of the daemon is only reported.
func (u usage) exceeds(was usage) bool {
	const connections = 10
	return u.fds > was.fds+connections || u.mounts > was.mounts || u.groups > was.groups || u.processes > was.processes
}

func (c *cycler) usage(t *testing.T) usage {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(c.srv.cmd.Process.Pid))
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	inv, err := takeInventory(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	u := usage{fds: len(fds), mounts: len(mounts(t)), groups: len(inv.groups)}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(text, &u.rss)
		}
	}
	out, err := run(t.Context(), c.api, c.sb, "ls -d /proc/[0-9]* | wc -l")
	if err == nil {
		_, err = fmt.Sscan(out, &u.processes)
	}
	if err != nil {
		t.Fatalf("processes in the sandbox: %q, %v", out, err)
	}
	return u
}

// cycle pauses, resumes, and reads what must have gone on. It returns the size
// of what was saved.
func (c *cycler) cycle(t *testing.T, i int) (saved int64) {
	t.Helper()
	ctx := t.Context()
	if _, err := run(ctx, c.api, c.sb, fmt.Sprintf("echo %d >> ~/growing; head -c 2000 /dev/zero | tr '\\0' x >> ~/filler", i)); err != nil {
		t.Fatal(err)
	}
	var streamed func() error
	if i%5 == 3 {
		streamed = c.stream(t)
	}
	begin := time.Now()
	if err := c.api.Pause(ctx, c.sb.ID, true); err != nil {
		t.Fatal(err)
	}
	if streamed != nil && streamed() == nil {
		t.Error("a stream ended as if its command had, when the sandbox was paused")
	}
	row, err := c.db.Sandboxes.Get(ctx, c.sb.ID)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := c.db.Snapshots.Get(ctx, row.SnapshotID)
	if err != nil {
		t.Fatal(err)
	}
	if _, resumed, err := c.api.Connect(ctx, c.sb.ID, live); err != nil || !resumed {
		t.Fatalf("resume: %v, %v", resumed, err)
	}
	if err := c.read(ctx, c.api); err != nil {
		t.Error(err)
	}
	c.took = append(c.took, time.Since(begin))
	if err := c.advance(ctx, c.api); err != nil {
		t.Error(err)
	}
	out, err := run(ctx, c.api, c.sb, "cat ~/growing")
	var want strings.Builder
	for n := range i + 1 {
		fmt.Fprintln(&want, n)
	}
	if err != nil || out != want.String() {
		t.Errorf("the growing file has %q, %v", out, err)
	}
	return claim.Bytes
}

// stream follows a command that is still running when the sandbox is paused. The
// result waits for the end of the stream.
func (c *cycler) stream(t *testing.T) func() error {
	t.Helper()
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := c.api.Agent(c.sb).Run(t.Context(), client.Command{
			Args:    []string{"/bin/bash", "-c", "for i in {1..20}; do echo $i; sleep 0.05; done"},
			Stdout:  io.Discard,
			Started: func(uint32) { close(begun) },
		})
		ended <- err
	}()
	select {
	case <-begun:
	case err := <-ended:
		t.Fatalf("follow a command: %v", err)
	}
	return func() error {
		select {
		case err := <-ended:
			return err
		case <-time.After(settle):
			t.Fatal("a stream stays open although its sandbox is paused")
			return nil
		}
	}
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[(len(sorted)-1)/2]
}
