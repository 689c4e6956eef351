package stream

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTakeTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{"": -1, "1500": 1500 * time.Millisecond, "0": 0, "9999999999": 9999999999 * time.Millisecond, "-1": -1, "x": -1, "99999999999": -1} {
		r, _ := http.NewRequest("POST", "/", nil)
		if text != "" {
			r.Header.Set(timeoutHeader, text)
		}
		taken := TakeTimeout(r)
		d, ok := Timeout(taken.Context())
		if ok != (want >= 0) || ok && d != want {
			t.Errorf("%q: %v %v", text, d, ok)
		}
		// What is not understood stays for connect to refuse.
		if left := taken.Header.Get(timeoutHeader); ok && left != "" || !ok && left != text {
			t.Errorf("%q: header is %q", text, left)
		}
	}
}

func TestPingInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"": defaultPing, "50": 50 * time.Second, "0": defaultPing, "-3": defaultPing, "x": defaultPing, "999999": defaultPing} {
		if got := PingInterval(http.Header{"Keepalive-Ping-Interval": {text}}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fired atomic.Int32
		begin := time.Now()
		AfterFunc(30*time.Second, func() { fired.Add(1) })
		stopped := AfterFunc(30*time.Second, func() { t.Error("stopped timer fired") })
		stopped.Stop()
		(*Timer)(nil).Stop()
		time.Sleep(29 * time.Second)
		if fired.Load() != 0 {
			t.Error("fired early")
		}
		time.Sleep(2 * time.Second)
		if fired.Load() != 1 {
			t.Errorf("fired %d times in %v", fired.Load(), time.Since(begin))
		}
	})
}

// A restore makes every timer fire with a clock that leapt: the time begins
// again, and passes.
func TestTimerRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leap atomic.Int64
		var fired atomic.Bool
		now := func() time.Time { return time.Now().Add(time.Duration(leap.Load())) }
		afterFunc(30*time.Second, func() { fired.Store(true) }, now)
		time.Sleep(time.Second)
		leap.Store(int64(time.Hour))
		time.Sleep(30 * time.Second)
		if fired.Load() {
			t.Fatal("the time in which the guest did not run counted")
		}
		time.Sleep(30 * time.Second)
		if !fired.Load() {
			t.Error("the timer never fired")
		}
	})
}
