// Package usage measures the resource use of sandboxes and keeps the measurements for
// an hour. It asks the host, and a guest only after that was active: an idle guest
// stays idle. It may import envd, sandbox and vm.
package usage

import (
	"math"
	"slices"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/vm"
)

const (
	// Tick is how often it is looked which sandboxes are to be measured: a
	// client sees its sandbox's first measurement after two ticks at most.
	Tick = 2 * time.Second
	// Interval is the time between the others.
	Interval = 10 * time.Second
	// Kept is how long measurements are kept.
	Kept = time.Hour
	// askTimeout is how long a guest may take to report its resource use.
	askTimeout = time.Second
	// guestBusy is what a guest computes at least until it is asked again, and
	// askAnyway is when it is in any case. One that is idle stays so.
	guestBusy = 50 * time.Millisecond
	askAnyway = 5 * time.Minute
	// believed is how long the answer of a guest counts that is silent since.
	believed = time.Minute
	// askBusy is the longest time until one is asked again that has answered before:
	// it may have too much to do.
	askBusy = 5 * time.Minute
)

// usage is the resource use of one sandbox. It takes 24 bytes for each measurement: there are
// many sandboxes.
type usage struct {
	readings []reading // oldest first
	// run is the machine that was looked at last; at and cpu what was seen. first: of
	// that machine there is no reading yet.
	run   int
	first bool
	at    time.Time
	cpu   time.Duration
	// guest is what that machine's guest said last that it uses, at heard. It was
	// asked at asked, when it had computed askedCPU; zero if it was not yet.
	guest        envd.Metrics
	heard, asked time.Time
	askedCPU     time.Duration
	// silent is how often in a row it gave no answer.
	silent int
}

// reading is a measurement; its sizes are in KiB.
type reading struct {
	at                  int64 // Unix time in milliseconds
	cpuPct              float32
	memory, cache, disk uint32
}

// due reports whether a machine is to be measured now.
func (u *usage) due(run int, now time.Time) bool {
	return u.run != run || u.first || now.Sub(u.at) >= Interval
}

// asks reports whether the guest of a machine that was measured is to be asked.
func (u *usage) asks(run int, s vm.Stats) bool {
	if u.run != run || u.asked.IsZero() {
		return true
	}
	passed := s.Time.Sub(u.asked)
	if u.silent > 0 {
		most := Kept // It may be one that stopped its agent.
		if !u.heard.IsZero() {
			most = askBusy
		}
		return passed >= min(Interval<<min(u.silent, 10), most)
	}
	return passed >= askAnyway || s.CPUTime-u.askedCPU >= guestBusy
}

// answered takes what a guest said when it was asked, or nil if nothing. What it
// said before counts for a while after that: see add.
func (u *usage) answered(run int, s vm.Stats, m *envd.Metrics) {
	if u.run != run {
		u.guest, u.heard, u.silent = envd.Metrics{}, time.Time{}, 0
	}
	u.asked, u.askedCPU = s.Time, s.CPUTime
	if m == nil {
		u.silent++
		return
	}
	u.guest, u.heard, u.silent = *m, s.Time, 0
}

// add takes a look at a machine. The first one shows only where its clock of
// processor time stands: that has run before the machine was this sandbox's.
func (u *usage) add(run int, s vm.Stats, vcpus int) {
	passed, used, other := s.Time.Sub(u.at), s.CPUTime-u.cpu, u.run != run
	u.run, u.first, u.at, u.cpu = run, other, s.Time, s.CPUTime
	if other || passed <= 0 {
		return
	}
	u.forget(s.Time)
	if u.silent > 0 && s.Time.Sub(u.heard) > believed {
		u.guest = envd.Metrics{}
	}
	memory := u.guest.MemUsed
	if memory <= 0 {
		memory = s.MemoryBytes
	}
	u.readings = append(u.readings, reading{
		at: s.Time.UnixMilli(), cpuPct: float32(100 * used.Seconds() / passed.Seconds() / float64(max(vcpus, 1))),
		memory: kib(memory), cache: kib(u.guest.MemCache), disk: kib(u.guest.DiskUsed),
	})
}

// kib is a number of bytes in KiB, rounded up.
func kib(bytes int64) uint32 {
	if bytes <= 0 {
		return 0
	}
	return uint32(min((bytes-1)>>10+1, math.MaxUint32))
}

// forget drops old measurements.
func (u *usage) forget(now time.Time) {
	since := now.Add(-Kept).UnixMilli()
	old := 0
	for old < len(u.readings) && u.readings[old].at < since {
		old++
	}
	u.readings = slices.Delete(u.readings, 0, old)
}
