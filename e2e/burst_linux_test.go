package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// TestABurstIsServedInOrderOfArrival asks for many more sandboxes at once than
// are warm, with two keys. That each key's requests are served in the order in
// which they came is read from the server's log, which numbers both under one
// lock; how fast that was is printed beside what the processors allow.
func TestABurstIsServedInOrderOfArrival(t *testing.T) {
	creates, warm := 20, 3
	if *soak {
		creates, warm = 100, 10
	}
	srv, api, dir := newServer(t, fmt.Sprintf("--warm=%d", warm), "--log-level=debug")
	keys := []client.API{api, {URL: api.URL, Key: newKey(t, dir)}}
	awaitFigure(t, api, `warm_pool_ready{pool="base"}`, float64(warm))
	hits, err := figure(t.Context(), api, `warm_pool_hits_total{pool="base"}`)
	if err != nil {
		t.Fatal(err)
	}
	logged := len(readLog(t, srv))

	all, took := make([]client.Sandbox, creates), make([]time.Duration, creates)
	cpu, begin := processorTime(t), time.Now()
	each(creates, func(i int) {
		begin := time.Now()
		sb, err := keys[i%2].Create(t.Context(), "base", 10*time.Minute)
		if err != nil {
			t.Errorf("create %d: %v", i, err)
		}
		all[i], took[i] = sb, time.Since(begin)
	})
	wall, cpu := time.Since(begin), processorTime(t)-cpu
	if t.Failed() {
		t.FailNow()
	}
	if after, err := figure(t.Context(), api, `warm_pool_hits_total{pool="base"}`); err != nil {
		t.Error(err)
	} else {
		hits = after - hits
	}
	if hits < 1 || int(hits) > creates/2 {
		t.Errorf("%v of %d came from the pool of %d", hits, creates, warm)
	}

	served := admissions(t, readLog(t, srv)[logged:])
	if len(served) < creates-int(hits) {
		t.Errorf("%d admissions are in the log, want %d at least", len(served), creates-int(hits))
	}
	slices.SortFunc(served, func(a, b admission) int { return cmp.Compare(a.turn, b.turn) })
	last, waited := map[string]int{}, map[string]int{}
	for _, a := range served {
		if a.arrival <= last[a.tenant] {
			t.Errorf("key %s: request %d was served after request %d", a.tenant, a.arrival, last[a.tenant])
		}
		last[a.tenant] = a.arrival
		if a.waited > time.Millisecond {
			waited[a.tenant]++
		}
	}
	// Otherwise there was no queue, and the order shows nothing.
	for tenant := range last {
		if least := creates / 5; waited[tenant] < least {
			t.Errorf("key %s: %d requests waited, want %d at least", tenant, waited[tenant], least)
		}
	}
	if len(last) != 2 {
		t.Errorf("the requests are of %d keys, want 2", len(last))
	}

	misses := creates - int(hits)
	perCreate := cpu / time.Duration(misses)
	limit := perCreate * time.Duration(misses) / time.Duration(runtime.NumCPU())
	s := latency.Summarise(took)
	t.Logf("%d creates at once, %v from the pool: p50 %v, p95 %v, last %v", creates, hits, ms(s.P50), ms(s.P95), ms(s.Max))
	t.Logf("limit: %v of processor time for each of %d restores on %d processors are %v; all took %.2f times that (load %s)",
		ms(perCreate), misses, runtime.NumCPU(), ms(limit), wall.Seconds()/limit.Seconds(), load())

	each(creates, func(i int) {
		if out, err := run(t.Context(), api, all[i], "hostname"); err != nil || out != all[i].ID+"\n" {
			t.Errorf("%s answers %q, %v", all[i].ID, out, err)
		}
	})
	killAll(t, api, all)
	srv.stop(t)
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// newKey makes a second API key.
func newKey(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(os.Getenv(binEnv), "keys", "create", "--name", "second", "--state-dir", filepath.Join(dir, "state"))
	out, err := cmd.Output()
	key := regexp.MustCompile(`e2b_[0-9a-f]+`).Find(out)
	if err != nil || key == nil {
		t.Fatalf("keys create: %q, %v", out, err)
	}
	return string(key)
}

func readLog(t *testing.T, srv *server) []byte {
	t.Helper()
	b, err := os.ReadFile(srv.log)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// admission is a line of the server's log.
type admission struct {
	tenant        string
	arrival, turn int
	waited        time.Duration
}

var admissionLine = regexp.MustCompile(`msg="request admitted" tenant=(\S+) arrival=(\d+) turn=(\d+) waited=(\S+)`)

func admissions(t *testing.T, log []byte) (out []admission) {
	t.Helper()
	for line := range bytes.Lines(log) {
		m := admissionLine.FindStringSubmatch(string(line))
		if m == nil {
			continue
		}
		arrival, arrivalErr := strconv.Atoi(m[2])
		turn, turnErr := strconv.Atoi(m[3])
		waited, waitedErr := time.ParseDuration(m[4])
		if arrivalErr != nil || turnErr != nil || waitedErr != nil {
			t.Fatalf("unreadable: %s", line)
		}
		out = append(out, admission{m[1], arrival, turn, waited})
	}
	return out
}

// processorTime is what all processes in here have used, the ended ones
// included, but for the tests themselves.
func processorTime(t *testing.T) (sum time.Duration) {
	t.Helper()
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux.
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		if filepath.Base(filepath.Dir(path)) == strconv.Itoa(os.Getpid()) {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			continue // It ended in between, and its parent has its time.
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		for _, f := range fields[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum
}
