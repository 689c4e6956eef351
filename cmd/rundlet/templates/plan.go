package templates

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/dockerfile"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/sandbox"
)

// The states of a step.
const (
	running = "running"
	done    = "done"
	cached  = "cached"
	failed  = "failed"
)

// plan is what a build does, and how far it is.
type plan struct {
	file   string // The name of the Dockerfile.
	from   int    // The line of its FROM.
	steps  []dockerfile.Step
	states []stepState
}

// stepState is the state of a step; empty is one that has not begun.
type stepState struct {
	state        string
	began, ended time.Time
}

func (s stepState) took() time.Duration { return s.ended.Sub(s.began).Round(100 * time.Millisecond) }

func newPlan(file string, r dockerfile.Recipe) *plan {
	return &plan{file: file, from: r.FromLine, steps: r.Steps, states: make([]stepState, len(r.Steps))}
}

// index is that of a step by its name in a log; -1 is none.
func (p *plan) index(step string) int {
	n, err := strconv.Atoi(step)
	if err != nil || n < 1 || n > len(p.steps) {
		return -1
	}
	return n - 1
}

// log takes a line of the log. It returns the steps whose state it changes, and whether it is output and not the heading of a step, which is the first
// line of each.
func (p *plan) log(l client.BuildLog) (changed []int, output bool) {
	i := p.index(l.Step)
	if i < 0 {
		if l.Step == sandbox.StepFinalize {
			changed = p.finish(l.Time, done)
		}
		return changed, true
	}
	if p.states[i].state != "" {
		return nil, true
	}
	changed = p.finish(l.Time, done)
	p.states[i] = stepState{state: running, began: l.Time}
	if strings.HasPrefix(l.Message, "CACHED") {
		p.states[i] = stepState{state: cached, began: l.Time, ended: l.Time}
	}
	return append(changed, i), false
}

// finish ends the steps that are running.
func (p *plan) finish(at time.Time, state string) (changed []int) {
	for i := range p.states {
		if s := &p.states[i]; s.state == running {
			s.state, s.ended = state, at
			changed = append(changed, i)
		}
	}
	return changed
}

// settle ends the steps that are running with the result of the build. If the client only stopped watching, they go on.
func (p *plan) settle(err error) (changed []int) {
	switch {
	case err == nil:
		return p.finish(time.Now(), done)
	case errors.As(err, new(*client.BuildError)):
		return p.finish(time.Now(), failed)
	}
	return nil
}

// heading is a step for people.
func (p *plan) heading(i int) string {
	s := p.steps[i]
	where := ""
	if s.Line > 0 {
		where = fmt.Sprintf("line %d: ", s.Line)
	}
	return fmt.Sprintf("%d/%d %s%s", i+1, len(p.steps), where, oneLine(s.Text))
}

// line is that of the Dockerfile that a step of a log is about; 0 is none.
func (p *plan) line(step string) int {
	if step == sandbox.StepBase {
		return p.from
	}
	if i := p.index(step); i >= 0 {
		return p.steps[i].Line
	}
	return 0
}

// explain adds to the failure of a build where in the Dockerfile its reason is.
func (p *plan) explain(e *client.BuildError) error {
	message := command.Printable(e.Message)
	line, i := p.line(e.Step), p.index(e.Step)
	switch {
	case i >= 0 && line > 0:
		return fmt.Errorf("%s:%d: %s: %s", p.file, line, oneLine(shorten(p.steps[i].Text, 80)), message)
	case i >= 0:
		return fmt.Errorf("%s: %s: %s", p.file, p.steps[i].Text, message)
	case line > 0:
		return fmt.Errorf("%s:%d: FROM: %s", p.file, line, message)
	case e.Step == sandbox.StepFinalize:
		return fmt.Errorf("start of the template: %s", message)
	}
	return fmt.Errorf("build of the template: %s", message)
}

// shorten cuts a text to a number of columns.
func shorten(text string, most int) string {
	columns, cut := 0, 0
	for i, r := range text {
		columns++
		if r >= 0x1100 { // From here on, most scripts are wide.
			columns++
		}
		if columns < most {
			cut = i + len(string(r))
		}
	}
	if columns <= most {
		return text
	}
	return text[:cut] + "…"
}
