//go:build linux

package agent

import (
	"bufio"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/agent/reply"
	"github.com/rundlet/rundlet/envd"
)

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) envs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	reply.JSON(w, http.StatusOK, s.state.Env())
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	mem := meminfo()
	cache := mem["Cached"] + mem["Buffers"] + mem["SReclaimable"]
	m := envd.Metrics{
		Timestamp:  time.Now().Unix(),
		CPUCount:   runtime.NumCPU(),
		CPUUsedPct: s.cpu.percent(),
		MemTotal:   mem["MemTotal"],
		MemCache:   cache,
	}
	if taken := mem["MemFree"] + cache; taken < m.MemTotal {
		m.MemUsed = m.MemTotal - taken
	}
	m.MemTotalMiB, m.MemUsedMiB = m.MemTotal>>20, m.MemUsed>>20
	var disk unix.Statfs_t
	if err := unix.Statfs("/", &disk); err == nil {
		size := int64(disk.Bsize)
		m.DiskTotal = int64(disk.Blocks) * size
		m.DiskUsed = int64(disk.Blocks-disk.Bfree) * size
	}
	w.Header().Set("Cache-Control", "no-store")
	reply.JSON(w, http.StatusOK, m)
}

// meminfo returns /proc/meminfo in bytes; what cannot be read is zero.
func meminfo() map[string]int64 {
	out := map[string]int64{}
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return out
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		name, rest, _ := strings.Cut(sc.Text(), ":")
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if n, err := strconv.ParseInt(kib, 10, 64); err == nil {
			out[name] = n << 10
		}
	}
	return out
}

// cpuMeter gives the CPU use between two readings: there is no sampling in
// between, which would keep an idle guest awake.
type cpuMeter struct {
	mu          sync.Mutex
	busy, total uint64
}

func (c *cpuMeter) percent() float64 {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	busy, total := parseCPU(string(stat))
	c.mu.Lock()
	defer c.mu.Unlock()
	b, t := busy-c.busy, total-c.total
	// The counters begin anew after a restore.
	if busy < c.busy || total < c.total {
		b, t = busy, total
	}
	c.busy, c.total = busy, total
	if t == 0 {
		return 0
	}
	return min(100, 100*float64(b)/float64(t))
}

// parseCPU sums the first line of /proc/stat: user nice system idle iowait ...
func parseCPU(stat string) (busy, total uint64) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != "cpu" {
		return 0, 0
	}
	for i, f := range fields[1:] {
		n, err := strconv.ParseUint(f, 10, 64)
		// Guest time (fields 8 and 9) is part of user time already.
		if err != nil || i >= 8 {
			break
		}
		total += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, total
}
