package gvisor

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// drift is how far two clocks may be apart that should go alike.
const drift = 100 * time.Millisecond

// reading are a guest's clocks: Mono and Boot by system calls, Run by the
// vDSO, as the time since the guest's program began.
type reading struct {
	Mono, Boot, Run time.Duration
	Wall            time.Time
}

var began = time.Now()

// tellClocks is the guest's side of readClocks.
func tellClocks(w http.ResponseWriter, _ *http.Request) {
	var mono, boot unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, mono.Nano(), boot.Nano(), int64(time.Since(began)), time.Now().UnixNano())
}

func readClocks(t *testing.T, d *Driver, id string) reading {
	t.Helper()
	before := time.Now()
	text, err := client{d}.do(testContext(t), id, "GET", "/clocks", "")
	if err != nil {
		t.Fatal(err)
	}
	var mono, boot, run, wall int64
	if _, err := fmt.Sscan(text, &mono, &boot, &run, &wall); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	r := reading{time.Duration(mono), time.Duration(boot), time.Duration(run), time.Unix(0, wall)}
	if r.Wall.Before(before.Add(-drift)) || r.Wall.After(time.Now().Add(drift)) {
		t.Errorf("%s: the wall clock says %v, it is %v", id, r.Wall, before)
	}
	return r
}

// naps ends with how long a nap took by the guest's monotonic clock.
var naps = make(chan time.Duration, 1)

func nap(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.PathValue("ms"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	start := time.Now()
	time.AfterFunc(time.Duration(ms)*time.Millisecond, func() { naps <- time.Since(start) })
}

func slept(t *testing.T, d *Driver, id string) time.Duration {
	t.Helper()
	text, err := client{d}.do(testContext(t), id, "GET", "/nap", "")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ns)
}

// TestTimeInWhichTheGuestDidNotRunPassesForItsWallClockOnly saves a guest with
// a timer, and restores it when the timer would long be due.
func TestTimeInWhichTheGuestDidNotRunPassesForItsWallClockOnly(t *testing.T) {
	const timer, least = 3 * time.Second, 4 * time.Second
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	start := time.Now()
	if _, err := (client{d}).do(ctx, "a", "POST", fmt.Sprintf("/nap/%d", timer.Milliseconds()), ""); err != nil {
		t.Fatal(err)
	}
	saved := readClocks(t, d, "a")
	if err := d.Snapshot(ctx, "a", "s"); err != nil {
		t.Fatal(err)
	}
	snapshot := time.Now()

	// The source goes on as if nothing had happened.
	if got, most := slept(t, d, "a"), time.Since(start)+drift; got < timer || got > most {
		t.Errorf("a timer of %v in the source took %v, at most %v have passed", timer, got, most)
	}
	<-time.After(time.Until(snapshot.Add(least)))
	gap := time.Since(snapshot)

	restore(t, d, "b", resumed(t, "a", "s"))
	got := readClocks(t, d, "b")
	most := time.Since(start) - gap + drift
	for _, clock := range []struct {
		name        string
		before, now time.Duration
	}{{"monotonic", saved.Mono, got.Mono}, {"boot time", saved.Boot, got.Boot}, {"vDSO", saved.Run, got.Run}} {
		if passed := clock.now - clock.before; passed < 0 || passed > most {
			t.Errorf("the %s clock went by %v, and the guest ran for at most %v", clock.name, passed, most)
		}
	}
	if passed := got.Wall.Sub(saved.Wall); passed < gap-drift {
		t.Errorf("the wall clock went by %v, in more than %v", passed, gap)
	}
	if got, most := slept(t, d, "b"), time.Since(start)-gap+drift; got < timer || got > most {
		t.Errorf("a timer of %v took %v, and the guest ran for at most %v", timer, got, most)
	}
}
