package kernel

import "time"

// interrupts are the pauses before interrupts of code whose client is gone. Code may begin just after the first one, or catch some.
var interrupts = []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}

// Interrupt sends interrupts to code whose client is gone, until the code has ended or its kernel is done. It sends none when
// ended is closed already: that one would be for the next code. It returns at the end, or after the last one.
func Interrupt(ended, done <-chan struct{}, send func()) {
	for _, pause := range interrupts {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ended:
		case <-done:
		}
		timer.Stop()
		select {
		case <-ended:
			return
		case <-done:
			return
		default:
			send()
		}
	}
}
