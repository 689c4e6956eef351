package kernel

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestInterruptsComeUntilTheCodeHasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration // The code ends; negative is before.
		want  int
	}{
		"it had ended":              {-1, 0},
		"it ends at the first":      {500 * time.Millisecond, 1},
		"it ends at the third":      {5 * time.Second, 3},
		"it catches all interrupts": {time.Hour, len(interrupts)},
	} {
		for _, dies := range []bool{false, true} { // Or its kernel does.
			synctest.Test(t, func(t *testing.T) {
				ended, done := make(chan struct{}), make(chan struct{})
				end := ended
				if dies {
					end = done
				}
				if c.after < 0 {
					close(end)
				} else {
					time.AfterFunc(c.after, func() { close(end) })
				}
				got := 0
				Interrupt(ended, done, func() { got++ })
				if got != c.want {
					t.Errorf("%s, the kernel dies: %v: %d interrupts, want %d", name, dies, got, c.want)
				}
				<-end
			})
		}
	}
}

// A timer without a pause has fired by the time that a busy machine looks at it.
func TestCodeThatHasEndedIsNotInterrupted(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	for range 1000 {
		Interrupt(ended, nil, func() { t.Fatal("it is interrupted") })
	}
}
