package refused

import (
	"sync"
	"testing"
)

func TestACounterWakesItsReaderOnceForMany(t *testing.T) {
	c := NewCounter()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				c.Add()
			}
		})
	}
	all.Wait()
	<-c.More()
	if n := c.Load(); n != 800 {
		t.Errorf("%d were counted", n)
	}
	select {
	case <-c.More():
		t.Error("it wakes again without reason")
	default:
	}
	c.Add()
	<-c.More()
}
