//go:build linux

package process

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

func data(b byte) *processpb.ProcessEvent {
	return &processpb.ProcessEvent{Event: &processpb.ProcessEvent_Data{Data: stdoutEvent([]byte{b})}}
}

func end() *processpb.ProcessEvent {
	return &processpb.ProcessEvent{Event: &processpb.ProcessEvent_End{End: endEvent(0)}}
}

// A subscriber that reads nothing holds up the process for stallLimit, once,
// and does not cost the others any event.
func TestFanoutStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fanout
		stuck, good := f.subscribe(), f.subscribe()
		received := make(chan int)
		go func() {
			n := 0
			for ev := range good.events {
				n++
				if ev.GetEnd() != nil {
					break
				}
			}
			received <- n
		}()
		begin := time.Now()
		const events = 3 * queueEvents
		for i := range events {
			f.publish(data(byte(i)))
		}
		if took := time.Since(begin); took != stallLimit {
			t.Errorf("the process was held up for %v, want %v", took, stallLimit)
		}
		f.finish(end())
		if n := <-received; n != events+1 {
			t.Errorf("the other subscriber got %d events, want %d", n, events+1)
		}
		<-stuck.gone
		if !stuck.dropped {
			t.Error("the stuck subscriber was not dropped")
		}
		f.unsubscribe(stuck)
		f.unsubscribe(good)
	})
}

func TestFanoutCancelFreesPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fanout
		s := f.subscribe()
		for range queueEvents {
			f.publish(data(0))
		}
		begin := time.Now()
		go func() {
			time.Sleep(time.Second)
			f.unsubscribe(s)
		}()
		f.publish(data(0))
		if took := time.Since(begin); took != time.Second {
			t.Errorf("publish took %v after the client left", took)
		}
		if s.dropped {
			t.Error("a client that left counts as too slow")
		}
	})
}

func TestFanoutLate(t *testing.T) {
	var f fanout
	f.publish(data(1))
	f.finish(end())
	s := f.subscribe()
	if ev := <-s.events; ev.GetEnd() == nil {
		t.Errorf("got %v, want the end", ev)
	}
	f.unsubscribe(s)
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := newTable()
		old, reused := &proc{pid: 7}, &proc{pid: 7}
		sel := &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Pid{Pid: 7}}
		tab.add(old)
		tab.end(old)
		if _, err := tab.find(sel, false); err == nil {
			t.Error("an ended process counts as running")
		}
		time.Sleep(retention - time.Second)
		if p, err := tab.find(sel, true); p != old {
			t.Errorf("%v %v", p, err)
		}
		// The pid is taken again, and ends before the first one is forgotten.
		tab.add(reused)
		if p, _ := tab.find(sel, true); p != reused {
			t.Error("the running process does not win")
		}
		tab.end(reused)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p, _ := tab.find(sel, true); p != reused {
			t.Error("the retention of the first process took the second")
		}
		time.Sleep(retention)
		synctest.Wait()
		if _, err := tab.find(sel, true); err == nil || len(tab.ended) != 0 {
			t.Error("an ended process is kept for ever")
		}
	})
}

func TestEndEvent(t *testing.T) {
	if e := endEvent(0x0300); e.GetExitCode() != 3 || e.GetStatus() != "exit status 3" || e.GetError() != "exit status 3" || !e.GetExited() {
		t.Error(e)
	}
	if e := endEvent(0); e.Error != nil || e.GetStatus() != "exit status 0" {
		t.Error(e)
	}
	if e := endEvent(0x8b); e.GetExitCode() != -1 || e.GetStatus() != "signal: segmentation fault (core dumped)" || e.GetExited() {
		t.Error(e)
	}
}
