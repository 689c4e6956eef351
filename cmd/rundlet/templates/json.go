package templates

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/client/dockerfile"
)

// lines writes one JSON object a line, for programs.
type lines struct {
	enc *json.Encoder
	p   *plan
	// told is the latest upload that was written.
	told client.UploadProgress
}

// uploadStep is how many bytes more of an upload make another line.
const uploadStep = 1 << 20

// event is one line. Event says which of the other fields are set.
type event struct {
	// Event is note, begun, upload, step, log or end.
	Event      string                 `json:"event"`
	TemplateID string                 `json:"templateID,omitempty"`
	BuildID    string                 `json:"buildID,omitempty"`
	Names      []string               `json:"names,omitempty"`
	Tags       []string               `json:"tags,omitempty"`
	Upload     *client.UploadProgress `json:"upload,omitempty"`
	// Step is "base", "finalize" or the number of a step, and Line its line in the Dockerfile.
	Step  string `json:"step,omitempty"`
	Line  int    `json:"line,omitempty"`
	Steps int    `json:"steps,omitempty"`
	// State of a step is running, cached, done or failed; that of the end ready, error or unknown, if the build may go on.
	State   string     `json:"state,omitempty"`
	Seconds float64    `json:"seconds,omitempty"`
	Time    *time.Time `json:"timestamp,omitempty"`
	Level   string     `json:"level,omitempty"`
	Message string     `json:"message,omitempty"`
}

// write ignores errors: a reader that went away does not end a build.
func (v *lines) write(e event) { _ = v.enc.Encode(e) }

func (v *lines) note(n dockerfile.Note) {
	v.write(event{Event: "note", Line: n.Line, Message: n.Message})
}

func (v *lines) begun(b client.BuildRef) {
	v.write(event{Event: "begun", TemplateID: b.TemplateID, BuildID: b.BuildID, Names: b.Names, Tags: b.Tags, Steps: len(v.p.steps)})
}

func (v *lines) upload(u client.UploadProgress) {
	if u.Step == v.told.Step && !u.Done && u.Sent < v.told.Sent+uploadStep {
		return
	}
	v.told = u
	v.write(event{Event: "upload", Upload: &u})
}

func (v *lines) step(i int) {
	s := v.p.states[i]
	e := event{Event: "step", Step: strconv.Itoa(i + 1), Line: v.p.steps[i].Line, State: s.state, Message: v.p.steps[i].Text}
	if !s.ended.IsZero() {
		e.Seconds = s.ended.Sub(s.began).Seconds()
	}
	v.write(e)
}

func (v *lines) output(l client.BuildLog) {
	v.write(event{Event: "log", Step: l.Step, Line: v.p.line(l.Step), Time: &l.Time, Level: l.Level, Message: l.Message})
}

func (v *lines) end(b client.BuildRef, err error) {
	e := event{Event: "end", TemplateID: b.TemplateID, BuildID: b.BuildID, Names: b.Names, Tags: b.Tags, State: "ready"}
	for _, i := range v.p.settle(err) {
		v.step(i)
	}
	reason := new(client.BuildError)
	switch {
	case errors.As(err, &reason):
		e.State, e.Step, e.Line, e.Message = "error", reason.Step, v.p.line(reason.Step), reason.Message
	case err != nil:
		e.State, e.Message = "unknown", err.Error()
	}
	v.write(e)
}
