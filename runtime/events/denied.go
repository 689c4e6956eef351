package events

import (
	"context"
	"maps"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

const (
	// DeniedInterval is from a refusal to the look at what all sandboxes were refused: so there is one event of a sandbox in that time
	// at most.
	DeniedInterval = time.Second
	// mostDenied is how many sandboxes get such an event at a time. What others were refused is in a later one.
	mostDenied = 10
)

// denials knows what was reported of each sandbox that was refused something. It is for one goroutine.
type denials struct {
	reported map[string]reported // by sandbox
	failed   bool                // the last write; it is logged once
}

// reported is how often each destination of a slot was refused, by the last event.
type reported struct {
	slot   string
	last   time.Time // of the latest refusal
	counts map[destination]int
}

type destination struct {
	proto, address, name string
	port                 uint16
}

// denied is the data of an event: the destination that was refused last, how many packets, connections or queries it stands for
// at least, and to how many destinations these were.
type denied struct {
	Protocol     string `json:"protocol"`
	Address      string `json:"address,omitempty"`
	Name         string `json:"name,omitempty"`
	Port         uint16 `json:"port,omitempty"`
	Count        int    `json:"count"`
	Destinations int    `json:"destinations"`
}

// reportDenied looks for what sandboxes were refused, some time after they were, until ctx ends.
func (j *Journal) reportDenied(ctx context.Context) {
	for again := false; ; again = j.LookForDenied(ctx) {
		if !again {
			select {
			case <-ctx.Done():
				return
			case <-j.cfg.Refusals:
			case <-j.created:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(DeniedInterval):
		}
	}
}

// LookForDenied writes an event for each sandbox that was refused something since the last one. It returns whether some is left for the
// next look.
func (j *Journal) LookForDenied(ctx context.Context) (again bool) {
	var events []sandbox.Event
	now := map[string]reported{}
	for _, sb := range j.cfg.Live.All() { // In no order, so that each gets its turn.
		row := sb.Row()
		data, counts := j.refused(row)
		if data.Count == 0 {
			continue
		}
		if len(events) == mostDenied {
			again = true
			break
		}
		if sb.Recorded() != sandbox.StateRunning {
			again = true // It begins, or ends.
			continue
		}
		events = append(events, event(row, sandbox.EventDenied, data, time.Now()))
		now[row.ID] = counts
	}
	for id, r := range j.denials.reported {
		// One that is paused has no slot, and may be kept for long. It gets another.
		if sb, ok := j.cfg.Live.Find(id); !ok || sb.Row().SlotID != r.slot {
			delete(j.denials.reported, id)
		}
	}
	if len(events) == 0 {
		return again
	}
	if err := j.cfg.Store.Write(ctx, events); err != nil {
		if !j.denials.failed && ctx.Err() == nil {
			j.cfg.Log.Warn("could not write what sandboxes were refused; will retry", "error", err)
		}
		j.denials.failed = true
		return true
	}
	j.denials.failed = false
	maps.Copy(j.denials.reported, now)
	j.Wrote(events)
	return again
}

// refused is what a sandbox was refused since the last event of it.
func (j *Journal) refused(row store.Sandbox) (data denied, now reported) {
	now.slot = row.SlotID
	if now.slot == "" {
		return data, now
	}
	before := j.denials.reported[row.ID]
	if before.slot != now.slot {
		before = reported{}
	}
	attempts, err := j.cfg.Refused(now.slot, before.last)
	if err != nil || len(attempts) == 0 {
		return data, now // Nothing came since then, or it was paused or ended meanwhile.
	}
	now.last = attempts[0].Last
	now.counts = make(map[destination]int, len(attempts))
	for _, a := range attempts { // The latest first.
		to := destination{a.Proto, a.Address, a.Name, a.Port}
		now.counts[to] = a.Count
		more := a.Count - before.counts[to]
		if more < 0 { // It was forgotten, and seen again.
			more = a.Count
		}
		if more == 0 {
			continue
		}
		if data.Count == 0 {
			data.Protocol, data.Address, data.Name, data.Port = a.Proto, a.Address, a.Name, a.Port
		}
		data.Count += more
		data.Destinations++
	}
	return data, now
}
