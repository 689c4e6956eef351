package events

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// changes are the events that a row is:
//
//	state before              state      event
//	none, creating            running    created
//	resuming                  running    resumed
//	running, pausing          running    updated, if its end or its network changed
//	running, pausing          paused     paused
//	paused, resuming          paused     none: a resume failed, or an operator is needed
//	any                       killed     killed, if it ever ran
//	any                       others     none: they are on the way
//
// A sandbox whose create failed never ran, and has no events.
func changes(was live.Written, row store.Sandbox, now time.Time) []sandbox.Event {
	one := func(kind sandbox.EventType, data any) []sandbox.Event {
		return []sandbox.Event{event(row, kind, data, now)}
	}
	switch row.State {
	case sandbox.StateRunning:
		switch was.State {
		case "", sandbox.StateCreating:
			return one(sandbox.EventCreated, created(row))
		case sandbox.StateResuming:
			return one(sandbox.EventResumed, nil)
		case sandbox.StateRunning, sandbox.StatePausing:
			if data := updated(was, row); len(data) > 0 {
				return one(sandbox.EventUpdated, data)
			}
		}
	case sandbox.StatePaused:
		if was.State == sandbox.StateRunning || was.State == sandbox.StatePausing {
			return one(sandbox.EventPaused, nil)
		}
	case sandbox.StateKilled:
		if was.State != sandbox.StateKilled && !row.StartedAt.IsZero() {
			return one(sandbox.EventKilled, map[string]any{"reason": row.Reason})
		}
	}
	return nil
}

func created(row store.Sandbox) map[string]any {
	metadata := row.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	return map[string]any{"sandbox_metadata": metadata}
}

// updated is what changed of a sandbox that runs. It has no values of headers, and no password.
func updated(was live.Written, row store.Sandbox) map[string]any {
	data := map[string]any{}
	if was.EndAt.UnixMicro() != row.EndAt.UnixMicro() {
		data["set_timeout"] = row.EndAt.UTC().Format(time.RFC3339Nano)
	}
	if !reflect.DeepEqual(was.AllowInternet, row.AllowInternet) || !reflect.DeepEqual(was.Egress, row.Egress) {
		network := map[string]any{
			"allow_internet_access": row.AllowInternet == nil || *row.AllowInternet,
			"allow_out":             append([]string{}, row.Egress.Allow...), "deny_out": append([]string{}, row.Egress.Deny...),
		}
		data["set_network"] = network
	}
	return data
}

// checkpoint are the events that a snapshot is: those of forks and pauses are none.
func checkpoint(row store.Sandbox, snap store.Snapshot, now time.Time) []sandbox.Event {
	data := map[string]any{"snapshot_id": snap.ID}
	switch snap.Kind {
	case string(snapshot.KindSnapshot):
		if snap.Name != "" {
			data["name"] = snap.Name
		}
	case string(snapshot.KindContinuation):
		data["reason"] = snap.Reason
	default:
		return nil
	}
	return []sandbox.Event{event(row, sandbox.EventCheckpointed, data, now)}
}

// event is an event of a sandbox. Data that is too long is left out, and its length given instead.
func event(row store.Sandbox, kind sandbox.EventType, data any, now time.Time) sandbox.Event {
	e := sandbox.Event{
		Type: kind, SandboxID: row.ID, TemplateID: row.TemplateID, BuildID: row.BuildID, KeyID: row.KeyID, At: now,
		ExecutionID: execution(row),
	}
	if data != nil {
		e.Data, _ = json.Marshal(data) // It has only strings, numbers and truth values.
	}
	if n := len(e.Data); n > sandbox.MaxEventData {
		e.Data, _ = json.Marshal(map[string]any{"omitted_bytes": n})
	}
	return e
}

// executions is the name space of the ids of executions.
var executions = uuid.MustParse("b0f1c6d2-6a3e-4d0c-9c53-7d1f0a5e8b11")

// execution is the id of what began with the create or the resume that made a sandbox run last.
func execution(row store.Sandbox) string {
	name := row.StartedAt.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
	return uuid.NewSHA1(executions, []byte(row.ID+" "+name)).String()
}
