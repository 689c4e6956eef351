package templates

import (
	"fmt"
	"io"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/dockerfile"
)

// view shows how a build goes on. Its methods are called by one goroutine at a time.
type view interface {
	note(dockerfile.Note)
	begun(client.BuildRef)
	upload(client.UploadProgress)
	// step: the state of a step has changed.
	step(i int)
	// output is a line of the log.
	output(client.BuildLog)
	// end is the last call.
	end(ref client.BuildRef, err error)
}

// follow passes the progress of a build to a view.
func follow(p *plan, v view) func(client.BuildProgress) {
	return func(e client.BuildProgress) {
		switch {
		case e.Begun != nil:
			v.begun(*e.Begun)
		case e.Upload != nil:
			v.upload(*e.Upload)
		case e.Log != nil:
			changed, output := p.log(*e.Log)
			for _, i := range changed {
				v.step(i)
			}
			if output {
				v.output(*e.Log)
			}
		}
	}
}

// plain writes lines, for a file or a pipe.
type plain struct {
	w io.Writer
	p *plan
}

func (v *plain) note(n dockerfile.Note) { fmt.Fprintln(v.w, noteText(v.p, n)) }

func noteText(p *plan, n dockerfile.Note) string {
	if n.Line == 0 {
		return "note: " + n.Message
	}
	return fmt.Sprintf("note: %s:%d: %s", p.file, n.Line, oneLine(n.Message))
}

func (v *plain) begun(client.BuildRef) {}

func (v *plain) upload(u client.UploadProgress) {
	if u.Done {
		fmt.Fprintln(v.w, uploadText(v.p, u))
	}
}

func uploadText(p *plan, u client.UploadProgress) string {
	text := fmt.Sprintf("%d/%d files of COPY: ", u.Step, len(p.steps))
	switch {
	case u.Present:
		return text + "the server has them, " + bytesText(u.Size)
	case u.Done:
		return text + fmt.Sprintf("sent %s, %s compressed", bytesText(u.Size), bytesText(u.Sent))
	}
	return text + fmt.Sprintf("sending %s, %s compressed so far", bytesText(u.Size), bytesText(u.Sent))
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

func (v *plain) step(i int) {
	switch s := v.p.states[i]; s.state {
	case running:
		fmt.Fprintln(v.w, v.p.heading(i))
	case cached:
		fmt.Fprintln(v.w, v.p.heading(i), "(cached)")
	default:
		fmt.Fprintf(v.w, "%d/%d %s in %s\n", i+1, len(v.p.steps), s.state, s.took())
	}
}

func (v *plain) output(l client.BuildLog) {
	if l.Level != "error" { // The end has it.
		fmt.Fprintln(v.w, "    "+oneLine(l.Message))
	}
}

func (v *plain) end(_ client.BuildRef, err error) {
	for _, i := range v.p.settle(err) {
		v.step(i)
	}
}
