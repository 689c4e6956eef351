package templates

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/dockerfile"
)

// tail is how many lines of output of the running step are shown.
const tail = 6

// terminal shows a build on a terminal: what is done as lines that stay, and below them what is running, which is drawn again and again.
type terminal struct {
	w     io.Writer
	p     *plan
	width func() int
	now   func() time.Time
	stop  func() // Ends the goroutine that draws.

	mu    sync.Mutex
	drawn int // Lines that the next drawing replaces.
	// What is running, since when, and its last lines of output.
	phase     string
	since     time.Time
	last      []string
	uploading *client.UploadProgress
}

// redraw is the time between two drawings.
const redraw = 200 * time.Millisecond

// newTerminal starts to draw; end stops it.
func newTerminal(w io.Writer, p *plan, width func() int) *terminal {
	t := &terminal{w: w, p: p, width: width, now: time.Now, since: time.Now()}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(redraw)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				t.keep("")
			}
		}
	}()
	t.stop = func() {
		close(quit)
		<-ended
	}
	return t
}

// keep writes lines that stay, and draws what is running below them.
func (t *terminal) keep(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw(text, t.live())
}

// draw replaces what was drawn before. The caller holds mu.
func (t *terminal) draw(text string, live []string) {
	var out strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\x1b[J", t.drawn) // Up, and clear to the end.
	}
	if text != "" {
		out.WriteString(text + "\n")
	}
	for _, line := range live {
		out.WriteString(line + "\n")
	}
	t.drawn = len(live)
	_, _ = io.WriteString(t.w, out.String())
}

// live are the lines about what is running. None is wider than the terminal: what wraps could not be replaced. The caller holds mu.
func (t *terminal) live() (out []string) {
	width := t.width() - 1
	add := func(line string) { out = append(out, shorten(line, width)) }
	switch {
	case t.uploading != nil:
		add("> " + uploadText(t.p, *t.uploading))
	case t.phase != "":
		add(fmt.Sprintf("> %s (%s)", t.phase, max(t.now().Sub(t.since), 0).Round(time.Second)))
	}
	for _, line := range t.last {
		add("    " + line)
	}
	return out
}

func (t *terminal) note(n dockerfile.Note) { t.keep(noteText(t.p, n)) }

func (t *terminal) begun(client.BuildRef) { t.enter("waiting for the server") }

// enter says what is running from now on. Its time is by this clock: the server's may differ.
func (t *terminal) enter(phase string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.since, t.last = phase, t.now(), nil
	t.draw("", t.live())
}

func (t *terminal) upload(u client.UploadProgress) {
	t.mu.Lock()
	t.uploading = &u
	text := ""
	if u.Done {
		t.uploading, text = nil, uploadText(t.p, u)
	}
	t.mu.Unlock()
	if text != "" {
		t.keep(text)
	}
}

func (t *terminal) step(i int) {
	s := t.p.states[i]
	text := t.p.heading(i)
	switch s.state {
	case running:
		t.enter(text)
	case cached:
		t.keep("cached " + text)
	case done:
		t.leave(fmt.Sprintf("done   %s (%s)", text, s.took()), nil)
	case failed:
		t.leave(fmt.Sprintf("FAILED %s (%s)", text, s.took()), t.last)
	}
}

// leave writes how a step ended, and those of its last lines that stay.
func (t *terminal) leave(text string, last []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phase, t.last = "", nil
	t.draw(strings.Join(append([]string{text}, last...), "\n    "), nil)
}

func (t *terminal) output(l client.BuildLog) {
	if l.Level == "error" { // The end has it.
		return
	}
	if l.Step == "finalize" && strings.HasPrefix(l.Message, "Finalizing") {
		t.enter("start commands and snapshot")
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last = append(t.last, oneLine(l.Message)); len(t.last) > tail {
		t.last = t.last[1:]
	}
}

func (t *terminal) end(_ client.BuildRef, err error) {
	t.stop()
	for _, i := range t.p.settle(err) {
		t.step(i)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw("", nil)
}
