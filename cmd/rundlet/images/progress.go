//go:build linux

package images

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/rundlet/rundlet/image/catalogue"
)

// progressEvery is how often the line changes.
const progressEvery = 100 * time.Millisecond

// progress shows on a terminal how far an image is: one line that is written over.
type progress struct {
	out  io.Writer // nil shows nothing.
	mu   sync.Mutex
	last time.Time
	used bool
}

func newProgress(out io.Writer, json bool) *progress {
	if f, ok := out.(*os.File); json || !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{out: out}
}

func (p *progress) show(now catalogue.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil || time.Since(p.last) < progressEvery {
		return
	}
	p.last, p.used = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K%s", line(now))
}

// line is what is shown.
func line(p catalogue.Progress) string {
	if p.Total > 0 {
		return fmt.Sprintf("%s: %s of %s", p.Step, megabytes(p.Done), megabytes(p.Total))
	}
	return fmt.Sprintf("%s: %s", p.Step, megabytes(p.Done))
}

// end removes the line.
func (p *progress) end() {
	if p.used {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
