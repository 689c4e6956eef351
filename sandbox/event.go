package sandbox

import (
	"encoding/json"
	"time"
)

// EventType is what an Event is about.
type EventType string

// The types of events. Those of the lifecycle are E2B's; EventDenied is ours.
const (
	EventCreated      EventType = "sandbox.lifecycle.created"
	EventUpdated      EventType = "sandbox.lifecycle.updated"
	EventPaused       EventType = "sandbox.lifecycle.paused"
	EventResumed      EventType = "sandbox.lifecycle.resumed"
	EventCheckpointed EventType = "sandbox.lifecycle.checkpointed"
	EventKilled       EventType = "sandbox.lifecycle.killed"
	EventDenied       EventType = "sandbox.network.denied"
)

// EventTypes are all of them.
var EventTypes = []EventType{EventCreated, EventUpdated, EventPaused, EventResumed, EventCheckpointed, EventKilled, EventDenied}

// MaxEventData is the longest Data of an Event, in bytes.
const MaxEventData = 4 << 10

// Event is something that happened to a sandbox, as the journal of its node has it. It outlives the sandbox.
type Event struct {
	// Position orders the events of a node: a later one has a higher number, and no number is used twice.
	Position int64
	// ID is a UUID with the position in it.
	ID   string
	Type EventType
	// Data has the particulars, as a JSON object of at most MaxEventData bytes; nil is none.
	Data json.RawMessage
	// SandboxID is the sandbox, and ExecutionID a UUID that it has from a create or a resume until the next one.
	SandboxID, ExecutionID string
	// TemplateID, BuildID and KeyID are those that the sandbox was created from, and by.
	TemplateID, BuildID, KeyID string
	At                         time.Time
}

// EventFilter selects events.
type EventFilter struct {
	// SandboxID selects those of one sandbox, and Types those of some types; empty: all.
	SandboxID string
	Types     []EventType
	// Ascending: the oldest come first. Offset events are left out, and then at most Limit returned.
	Ascending     bool
	Offset, Limit int
}
