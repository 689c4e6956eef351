package e2b

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b/control/events"
	"github.com/rundlet/rundlet/sandbox"
)

const noEvent = "00000000-0000-0000-0000-000000000000"

// happen makes events of two sandboxes in turn, of all types.
func (n *node) happen(count int) (ids []string) {
	for i := range count {
		ids = append(ids, n.Journal.Happen(sandbox.Event{
			Type: sandbox.EventTypes[i%len(sandbox.EventTypes)], SandboxID: fmt.Sprint("i", i%2), KeyID: "somebody", ExecutionID: "x", TemplateID: "tpl0", BuildID: "b",
			At: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)),
		}).ID)
	}
	return ids
}

func TestPagesOfEvents(t *testing.T) {
	n := newNode(t, Config{})
	if r := n.do("GET", "/events/sandboxes", ""); r.body != "[]" {
		t.Errorf("without events: %d %s", r.code, r.body)
	}
	ids := n.happen(14)
	for query, want := range map[string][]int{
		"":                              {13, 12, 11, 10, 9, 8, 7, 6, 5, 4},
		"?limit=2":                      {13, 12},
		"?limit=2&offset=3":             {10, 9},
		"?limit=3&orderAsc=true":        {0, 1, 2},
		"?limit=3&offset=9999":          {},
		"?orderAsc=false&limit=1":       {13},
		"?types=sandbox.network.denied": {13, 6},
		"?types=sandbox.lifecycle.created,sandbox.lifecycle.killed": {12, 7, 5, 0},
		"?types=sandbox.lifecycle.created&types=" +
			"sandbox.lifecycle.killed&orderAsc=true&offset=1": {5, 7, 12},
		"?offset=&limit=&orderAsc=&types=":    {13, 12, 11, 10, 9, 8, 7, 6, 5, 4},
		"/i1?limit=3":                         {13, 11, 9},
		"/i1?types=sandbox.lifecycle.created": {7},
		"/gone":                               {},
	} {
		t.Run(query, func(t *testing.T) {
			n.t = t
			got := n.do("GET", "/events/sandboxes"+query, "").ids(t, "id")
			expected := []string{}
			for _, i := range want {
				expected = append(expected, ids[i])
			}
			if !slices.Equal(got, expected) {
				t.Errorf("got %v, want %v", got, expected)
			}
		})
	}
	n.t = t
	n.Journal.Happen(sandbox.Event{Type: sandbox.EventKilled, Data: []byte(`{"reason":"timeout"}`), SandboxID: "i9", ExecutionID: "x", TemplateID: "tpl0", BuildID: "b", At: time.Unix(1, 5000)})
	want := `[{"eventData":{"reason":"timeout"},"id":"00000000-0000-8000-8000-000000000015","sandboxBuildId":"b","sandboxExecutionId":"x","sandboxId":"i9",` +
		`"sandboxTeamId":"00000000-0000-0000-0000-000000000000","sandboxTemplateId":"tpl0","timestamp":"1970-01-01T00:00:01.000005Z","type":"sandbox.lifecycle.killed","version":"v2"}]`
	if r := n.do("GET", "/events/sandboxes/i9", ""); r.body != want {
		t.Errorf("%s, want %s", r.body, want)
	}
	if r := n.do("GET", "/events/sandboxes/i0?limit=1", ""); !strings.Contains(r.body, `"eventData":null`) || !strings.Contains(r.body, `"timestamp":"2026-01-02T02:04:05.000006Z"`) {
		t.Errorf("without data: %s", r.body)
	}
}

func TestBadQueriesOfEvents(t *testing.T) {
	n := newNode(t, Config{})
	for _, path := range []string{
		"?limit=0", "?limit=101", "?limit=-1", "?limit=x", "?limit=99999999999", "?offset=-1", "?offset=10001", "?offset=1.5", "?orderAsc=perhaps",
		"?types=created", "?types=sandbox.lifecycle.created,x", "?types=%00", "/UPPER", "/UPPER?limit=1", "/i1?limit=0", "?limit=1;x", "?limit=1&limit=2",
	} {
		if r := n.do("GET", "/events/sandboxes"+path, ""); r.code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
	n.happen(2)
	for _, path := range []string{"?sandbox=UPPER", "?types=x"} {
		if r := n.do("GET", "/events/stream"+path, ""); r.code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, r.code, r.body)
		}
	}
	for _, last := range []string{"x", "3", "00000000-0000-8000-8000-000000000003", strings.Repeat("9", 65)} {
		if r := n.do("GET", "/events/stream", "", "Last-Event-ID", last); r.code != http.StatusBadRequest {
			t.Errorf("after %s: %d %s", last, r.code, r.body)
		}
	}
	for _, path := range []string{"/events/sandboxes", "/events/sandboxes/i1", "/events/stream"} {
		if r := n.plain("GET", path); r.code != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d %s", path, r.code, r.body)
		}
	}
}

// As lists of sandboxes do, those of events show to each key what there is.
func TestEventsAreOfTheTeam(t *testing.T) {
	n := newNode(t, Config{})
	ids := n.happen(3)
	_, other, err := n.server.callers.keys.Create(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	if got := n.plain("GET", "/events/sandboxes", "X-API-Key", other).ids(t, "id"); len(got) != len(ids) {
		t.Errorf("%v", got)
	}
}

// eventStream is a stream that a client reads.
type eventStream struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

func (n *node) events(ctx context.Context, key, query, last string) (*eventStream, *http.Response) {
	n.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/events/stream"+query, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", key)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { resp.Body.Close() })
	return &eventStream{n.t, resp.Body, bufio.NewReader(resp.Body)}, resp
}

// next returns the id of the next event, which is the one in its data.
func (s *eventStream) next() (string, error) {
	s.t.Helper()
	id := ""
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return id, err
		}
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name {
		case "id":
			id = value
		case "data":
			var event struct{ ID string }
			if err := json.Unmarshal([]byte(value), &event); err != nil || event.ID != id {
				s.t.Errorf("event %s has the data %s, %v", id, value, err)
			}
			return id, nil
		}
	}
}

func (s *eventStream) want(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		if got, err := s.next(); err != nil || got != id {
			s.t.Errorf("%s, %v, want %s", got, err, id)
			return
		}
	}
}

func TestAStreamOfEvents(t *testing.T) {
	n := newNode(t, Config{})
	before := n.happen(5)
	s, resp := n.events(t.Context(), n.key, "", "")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	some, _ := n.events(t.Context(), n.key, "?sandbox=i1&types=sandbox.lifecycle.created,sandbox.lifecycle.updated", "")
	all, _ := n.events(t.Context(), n.key, "", noEvent)
	rest, _ := n.events(t.Context(), n.key, "", before[2])
	all.want(before...)
	rest.want(before[3:]...)
	for range 2 {
		after := n.happen(250) // More than are sent at once.
		s.want(after...)
		all.want(after...)
		rest.want(after...)
		for i := range after {
			if kind := sandbox.EventTypes[i%len(sandbox.EventTypes)]; i%2 == 1 && (kind == sandbox.EventCreated || kind == sandbox.EventUpdated) {
				some.want(after[i])
			}
		}
	}
}

// A client whose connection ends goes on after the last event that it has, and gets each once.
func TestAStreamGoesOn(t *testing.T) {
	n := newNode(t, Config{})
	last, got := noEvent, []string{}
	var want []string
	for range 5 {
		want = append(want, n.happen(7)...)
		ctx, leave := context.WithCancel(t.Context())
		s, _ := n.events(ctx, n.key, "", last)
		for range 6 {
			id, err := s.next()
			if err != nil {
				t.Fatal(err)
			}
			got, last = append(got, id), id
		}
		leave()
	}
	s, _ := n.events(t.Context(), n.key, "", last)
	for len(got) < len(want) {
		id, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A client whose connection ended before the first event goes on where the stream began.
func TestAStreamWithoutAnEventGoesOn(t *testing.T) {
	n := newNode(t, Config{})
	for _, before := range []int{0, 2} {
		n.happen(before)
		ctx, leave := context.WithCancel(t.Context())
		s, _ := n.events(ctx, n.key, "?types=sandbox.lifecycle.created", "")
		if line, err := s.in.ReadString('\n'); err != nil || line != "retry: 1000\n" {
			t.Fatalf("%q, %v", line, err)
		}
		line, err := s.in.ReadString('\n')
		last, ok := strings.CutPrefix(line, "id: ")
		if end, err := s.in.ReadString('\n'); err != nil || end != "\n" {
			t.Fatalf("%q, %v", end, err)
		}
		if leave(); err != nil || !ok {
			t.Fatalf("%q, %v", line, err)
		}
		ids := n.happen(4)
		s, _ = n.events(t.Context(), n.key, "", strings.TrimSpace(last))
		s.want(ids...)
	}
}

func TestStreamsOfEventsAreBounded(t *testing.T) {
	n := newNode(t, Config{})
	_, other, err := n.server.callers.keys.Create(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	for i := range events.MaxStreamsOfOne {
		if _, resp := n.events(ctx, n.key, "", ""); resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %d", i, resp.StatusCode)
		}
	}
	r := n.do("GET", "/events/stream", "")
	if r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") != "5" {
		t.Errorf("one more of the key: %d %s", r.code, r.body)
	}
	if _, resp := n.events(t.Context(), other, "", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("one of another key: %d", resp.StatusCode)
	}
	n.server.control.Events.Most = events.MaxStreamsOfOne + 1
	if r := n.plain("GET", "/events/stream", "X-API-Key", other); r.code != http.StatusServiceUnavailable {
		t.Errorf("one more than all may have: %d %s", r.code, r.body)
	}
	leave()
	within(t, time.Minute, "the end of the streams whose clients are gone", func() {
		look := time.NewTicker(time.Millisecond)
		defer look.Stop()
		for n.server.control.Events.Open() > 1 {
			<-look.C
		}
	})
	if _, resp := n.events(t.Context(), n.key, "", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("when others have gone: %d", resp.StatusCode)
	}
}

// A server that ends does not wait for clients that do not read.
func TestStreamsOfEventsThatAreNotReadEndWithTheServer(t *testing.T) {
	n := newNode(t, Config{Grace: time.Hour})
	n.server.control.Events.WriteTime = time.Hour
	big := []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`)
	for range 64 { // More than all buffers on the way have.
		n.Journal.Happen(sandbox.Event{Type: sandbox.EventCreated, Data: big})
	}
	if _, resp := n.events(t.Context(), n.key, "", noEvent); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	within(t, time.Minute, "the end of the server", n.stop)
}

// A server that ends does not wait for streams of events, and ends them well.
func TestStreamsOfEventsEndWithTheServer(t *testing.T) {
	n := newNode(t, Config{Grace: time.Hour})
	s, _ := n.events(t.Context(), n.key, "", "")
	s.want(n.happen(1)...)
	n.stop()
	if _, err := s.next(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}
