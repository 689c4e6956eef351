// Package capture takes what a measured command prints. It imports the standard library
// only.
package capture

import (
	"io"
	"time"
)

// FirstByte remembers when the first byte was written.
type FirstByte struct{ At time.Time }

func (f *FirstByte) Write(b []byte) (int, error) {
	if f.At.IsZero() && len(b) > 0 {
		f.At = time.Now()
	}
	return len(b), nil
}

// Limited passes the first Left bytes of what is written on to W.
type Limited struct {
	W    io.Writer
	Left int
}

func (l *Limited) Write(b []byte) (int, error) {
	n := min(len(b), l.Left)
	l.Left -= n
	if _, err := l.W.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
