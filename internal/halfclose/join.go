package halfclose

import (
	"errors"
	"io"
)

// errStopped ends a Join.
var errStopped = errors.New("stopped")

// Join copies between two connections until both have ended, and ends the sending side of each at the end of the
// other. An error, or the end of stop, ends both at once: broke, which makes both end in a way that is not taken for a
// regular one, is called before they are closed. Join closes both, and returns when nothing uses them.
func Join(a, b io.ReadWriteCloser, stop <-chan struct{}, broke func()) {
	ended := make(chan error, 2)
	go func() { ended <- pass(a, b, stop) }()
	go func() { ended <- pass(b, a, stop) }()
	var err error
	left := 2
	for left > 0 && err == nil {
		select {
		case err = <-ended:
			left--
		case <-stop:
			err = errStopped
		}
	}
	if err != nil {
		broke()
	}
	_, _ = a.Close(), b.Close()
	for ; left > 0; left-- {
		<-ended
	}
}

// pass copies one direction.
func pass(to, from io.ReadWriteCloser, stop <-chan struct{}) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	select {
	case <-stop: // What ended it has ended from.
		return errStopped
	default:
	}
	_ = Write(to, to.Close) // If it fails, to has ended, and the other direction reports how.
	return nil
}
