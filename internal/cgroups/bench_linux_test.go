package cgroups

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const benchEnv = "RUNDLET_BENCH_JOIN"

// TestBenchChild is a process with a sandbox's number of threads that joins a group, and says how
// many nanoseconds that took.
func TestBenchChild(t *testing.T) {
	file := os.Getenv(benchEnv)
	if file == "" {
		t.Skip("BenchmarkWaysIntoAGroup runs it, in separate processes")
	}
	held := make(chan struct{})
	for range 6 {
		go func() {
			runtime.LockOSThread()
			held <- struct{}{}
			select {}
		}()
		<-held
	}
	start := time.Now()
	if err := Join([]string{file}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("joined in", time.Since(start).Nanoseconds())
}

// rest is how long the kernel takes to forget a move. Moves that follow at once share the
// grace period of the first, which sandboxes that are created now and then do not.
const rest = 300 * time.Millisecond

// BenchmarkWaysIntoAGroup compares, round by round, a start outside of a group of version 2, a
// start by clone into it, and a process that joins it.
func BenchmarkWaysIntoAGroup(b *testing.B) {
	root := mountPoint
	switch Mounted() {
	case "hybrid": // Without controllers, but with the locks.
		root = filepath.Join(mountPoint, "unified")
	case "v2":
	default:
		b.Skip("this host has no control groups of version 2")
	}
	dir := filepath.Join(root, fmt.Sprintf("rundlet-bench-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := removeDir(dir); err != nil {
			b.Error(err)
		}
	}()
	group, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer group.Close()
	started := func(attr *syscall.SysProcAttr) time.Duration {
		cmd := exec.Command("/bin/sh", "-c", ":")
		cmd.SysProcAttr = attr
		<-time.After(rest)
		start := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		took := time.Since(start)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		return took
	}
	var outside, born, joined []time.Duration
	for b.Loop() {
		outside = append(outside, started(nil))
		born = append(born, started(&syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}))
		joined = append(joined, benchJoin(b, filepath.Join(dir, "cgroup.procs")))
	}
	for name, all := range map[string][]time.Duration{"start": outside, "start-in-group": born, "join": joined} {
		slices.Sort(all)
		b.ReportMetric(float64(all[0].Microseconds()), name+"-min-µs")
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), name+"-p50-µs")
	}
}

func benchJoin(b *testing.B, file string) time.Duration {
	b.Helper()
	<-time.After(rest)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestBenchChild$")
	cmd.Env = append(os.Environ(), benchEnv+"="+file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "joined in "); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(n)
		}
	}
	b.Fatalf("it did not say how long it took:\n%s", out)
	return 0
}

// TestNoThreadMovesAloneOnVersion2 is why Join has no fast way there: threads can be in other
// groups than their process only below groups that limit no memory.
func TestNoThreadMovesAloneOnVersion2(t *testing.T) {
	needVersion2(t)
	_, path := newGroup(t, 0)
	if err := writeFile(filepath.Join(mountPoint, path), "cgroup.threads", "0"); err == nil || !strings.Contains(err.Error(), unix.EOPNOTSUPP.Error()) {
		t.Errorf("a thread moved alone: %v", err)
	}
}
