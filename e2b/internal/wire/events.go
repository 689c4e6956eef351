package wire

import (
	"slices"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/api/gen/openapi"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/sandbox"
)

// The length of a page of events that asks for none, and how many events a page may leave out: what is behind that has to be read.
const defaultEvents, maxEventOffset = 10, 10_000

// eventVersion is the form of events.
const eventVersion = "v2"

// team is the one that all sandboxes are of.
var team = uuid.Nil.String()

// EventFilter reads the parameters of a list of events; sandboxID may be empty.
func EventFilter(p openapi.ListEventsParams, sandboxID string) (sandbox.EventFilter, error) {
	f := sandbox.EventFilter{Limit: defaultEvents}
	var err error
	if sandboxID != "" {
		if f.SandboxID, err = ParseID(sandboxID); err != nil {
			return f, err
		}
	}
	if p.Limit != nil {
		if f.Limit, err = ParseLimit(p.Limit); err != nil {
			return f, err
		}
	}
	if p.Offset != nil {
		if f.Offset = int(*p.Offset); f.Offset < 0 || f.Offset > maxEventOffset {
			return f, refusal.Invalidf("offset must be from 0 to %d, got %d; for more, name a sandbox or types, or read /events/stream", maxEventOffset, f.Offset)
		}
	}
	f.Ascending = p.OrderAsc != nil && *p.OrderAsc
	f.Types, err = EventTypes(p.Types)
	return f, err
}

// EventTypes reads a list of types of events; nil is all.
func EventTypes(names *[]string) (types []sandbox.EventType, err error) {
	if names == nil {
		return nil, nil
	}
	for _, name := range *names {
		if !slices.Contains(sandbox.EventTypes, sandbox.EventType(name)) {
			return nil, refusal.Invalidf("types: invalid type %.64q; it must be one of %q", name, sandbox.EventTypes)
		}
		types = append(types, sandbox.EventType(name))
	}
	return types, nil
}

// Events is a page of events.
func Events(events []sandbox.Event) []openapi.Event {
	out := make([]openapi.Event, 0, len(events))
	for _, e := range events {
		out = append(out, Event(e))
	}
	return out
}

// Event is an event as clients see it.
func Event(e sandbox.Event) openapi.Event {
	out := openapi.Event{
		Version: eventVersion, Id: e.ID, Type: string(e.Type), SandboxId: e.SandboxID, SandboxExecutionId: e.ExecutionID,
		SandboxTemplateId: e.TemplateID, SandboxBuildId: e.BuildID, SandboxTeamId: team, Timestamp: e.At.UTC(),
	}
	if e.Data != nil {
		out.EventData = &e.Data
	}
	return out
}
