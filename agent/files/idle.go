//go:build linux

package files

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// uploadIdle is how long an upload may be silent.
const uploadIdle = 60 * time.Second

// idleReader ends a body that sends nothing for uploadIdle.
type idleReader struct {
	r        io.Reader
	rc       *http.ResponseController
	timedOut bool
}

func newIdleReader(w http.ResponseWriter, r io.Reader) *idleReader {
	return &idleReader{r: r, rc: http.NewResponseController(w)}
}

func (b *idleReader) Read(p []byte) (int, error) {
	// A connection without deadlines is a test's.
	_ = b.rc.SetReadDeadline(time.Now().Add(uploadIdle))
	n, err := b.r.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.timedOut = true
	}
	return n, err
}

func (b *idleReader) stop() { _ = b.rc.SetReadDeadline(time.Time{}) }
