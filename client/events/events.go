// Package events reads what happened to sandboxes, from the API of a server: the newest events, and those that come. It may
// import client and sandbox.
package events

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/sandbox"
)

// Event is something that happened to a sandbox.
type Event struct {
	Version     string            `json:"version"`
	ID          string            `json:"id"`
	Type        sandbox.EventType `json:"type"`
	Data        json.RawMessage   `json:"eventData"` // An object, or null.
	SandboxID   string            `json:"sandboxId"`
	ExecutionID string            `json:"sandboxExecutionId"`
	TemplateID  string            `json:"sandboxTemplateId"`
	BuildID     string            `json:"sandboxBuildId"`
	TeamID      string            `json:"sandboxTeamId"`
	At          time.Time         `json:"timestamp"`
}

// Filter selects events; its zero value selects all.
type Filter struct {
	SandboxID string
	Types     []sandbox.EventType
}

// First is the id to follow events from the oldest one on.
const First = "00000000-0000-0000-0000-000000000000"

const (
	page = 100
	// mostPaged is how many events pages have: a server takes no higher offset than 10,000.
	mostPaged = 10_000 + page
	// maxPage and maxLine bound what is read of a server: a page, and a line of a stream.
	maxPage, maxLine = 4 << 20, 64 << 10
)

// silence is how long a stream may be silent: a server says something every 15 seconds. Tests shorten it.
var silence = time.Minute

func (f Filter) query(sandboxParameter bool) url.Values {
	q := url.Values{}
	for _, t := range f.Types {
		q.Add("types", string(t))
	}
	if sandboxParameter && f.SandboxID != "" {
		q.Set("sandbox", f.SandboxID)
	}
	return q
}

// Newest returns the newest events that match, at most limit, the newest first.
func Newest(ctx context.Context, api client.API, f Filter, limit int) ([]Event, error) {
	if limit > mostPaged {
		return newestOfAll(ctx, api, f, limit)
	}
	all := []Event{} // an empty list, not null, in JSON
	path := "/events/sandboxes"
	if f.SandboxID != "" {
		path += "/" + url.PathEscape(f.SandboxID)
	}
	asked := min(page, limit)
	for offset := 0; len(all) < limit; offset += asked {
		q := f.query(false)
		q.Set("limit", strconv.Itoa(asked))
		q.Set("offset", strconv.Itoa(offset))
		resp, err := client.Open(ctx, api, path+"?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var events []Event
		err = json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&events)
		resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		for _, e := range events {
			// New ones move the others into the next page. Ids are in the order of their events.
			if len(all) == 0 || e.ID < all[len(all)-1].ID {
				all = append(all, e)
			}
		}
		if len(events) < asked {
			break
		}
	}
	return all[:min(limit, len(all))], nil
}

// newestOfAll is Newest of more events than pages have: it reads all that there are.
func newestOfAll(ctx context.Context, api client.API, f Filter, limit int) ([]Event, error) {
	newest, err := Newest(ctx, api, f, 1)
	if err != nil || len(newest) == 0 {
		return newest, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all []Event
	end := errors.New("that is all")
	// If the newest one was removed meanwhile, nothing may come after those before it.
	watch := time.AfterFunc(silence, func() { cancel(end) })
	defer watch.Stop()
	err = Follow(ctx, api, f, First, func(e Event) error {
		watch.Reset(silence)
		if e.ID <= newest[0].ID {
			all = append(all, e)
		}
		if len(all) == 2*limit {
			all = slices.Clone(all[limit:])
		}
		if e.ID >= newest[0].ID {
			return end
		}
		return nil
	}, nil)
	if !errors.Is(err, end) {
		return nil, err
	}
	slices.Reverse(all)
	return all[:min(limit, len(all))], nil
}

// Follow calls yield for each event that matches after the one of an id, or from now on if that is empty, until ctx ends or yield fails, whose error it
// returns. When the connection or the server ends, it connects again and goes on where it was: no event is left out, and none comes twice. retry, which
// may be nil, is called before each wait for that. *client.Error if the server refuses it for another reason than its load.
func Follow(ctx context.Context, api client.API, f Filter, after string, yield func(Event) error, retry func(err error, wait time.Duration)) error {
	const first, most = 100 * time.Millisecond, 5 * time.Second
	wait := first
	for {
		var own error
		err := stream(ctx, api, f, after, func(id string) { after = id }, func(e Event) error {
			after, wait = e.ID, first
			own = yield(e)
			return own
		})
		switch {
		case own != nil:
			return own
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if refused, ok := errors.AsType[*client.Error](err); ok {
			if refused.Code < http.StatusInternalServerError && refused.Code != http.StatusTooManyRequests {
				return err
			}
			wait = max(wait, refused.RetryAfter)
		}
		if retry != nil {
			retry(err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait = min(2*wait, most)
	}
}

// errSilent is the cause of the end of a stream that says nothing.
var errSilent = errors.New("the server says nothing any more")

// stream reads one stream to its end. begin is called with the id that it begins after.
func stream(ctx context.Context, api client.API, f Filter, after string, begin func(id string), yield func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watch.Stop()
	header := http.Header{}
	if after != "" {
		header.Set("Last-Event-ID", after)
	}
	resp, err := client.Open(ctx, api, "/events/stream?"+f.query(true).Encode(), header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	id := ""
	for lines.Scan() {
		watch.Reset(silence)
		if value, ok := bytes.CutPrefix(lines.Bytes(), []byte("id: ")); ok {
			id = string(value)
			continue
		}
		if len(lines.Bytes()) == 0 && id != "" { // A message without data.
			begin(id)
			id = ""
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		id = ""
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}

// TypeOf returns the type that a name stands for: itself, or its last part, such as "killed".
func TypeOf(name string) (sandbox.EventType, error) {
	var known []string
	for _, t := range sandbox.EventTypes {
		last := string(t[strings.LastIndexByte(string(t), '.')+1:])
		if name == last || name == string(t) {
			return t, nil
		}
		known = append(known, last)
	}
	return "", fmt.Errorf("%.64q is not a type of events: use one of %s", name, strings.Join(known, ", "))
}
