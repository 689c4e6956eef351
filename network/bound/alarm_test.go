package bound

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheAlarmRingsAtTheEarliestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, began := NewAlarm(), time.Now()
		rings := func(after time.Duration) {
			t.Helper()
			<-a.Wake
			if took := time.Since(began); took != after {
				t.Errorf("it rang after %v, want %v", took, after)
			}
			a.Reset()
		}
		a.At(time.Time{}) // Never.
		a.At(began.Add(3 * time.Minute))
		a.At(began.Add(time.Minute))
		a.At(began.Add(2 * time.Minute))
		if next, set := a.Next(); !set || !next.Equal(began.Add(time.Minute)) {
			t.Errorf("it rings at %v, %v", next, set)
		}
		rings(time.Minute)
		if _, set := a.Next(); set {
			t.Error("it is still set")
		}
		a.At(began.Add(5 * time.Minute))
		rings(5 * time.Minute)
		a.At(began) // It has been.
		rings(5 * time.Minute)
		a.At(began.Add(time.Hour))
		a.Stop()
		time.Sleep(2 * time.Hour)
		select {
		case <-a.Wake:
			t.Error("it rings after its end")
		default:
		}
	})
}
