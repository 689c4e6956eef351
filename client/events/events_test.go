package events

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/sandbox"
)

// server has events, and serves them as a server does. Its streams end after some events.
type server struct {
	mu     sync.Mutex
	events []string // ids, the oldest first
	asked  []string // the queries, and the last ids of streams
	most   int
	refuse []int // statuses of the next streams
}

func id(n int) string { return fmt.Sprintf("00000000-0000-8000-8000-%012d", n) }

func serve(t *testing.T, s *server) client.API {
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return client.API{URL: srv.URL, Key: "k"}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("X-API-Key") != "k" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/events/stream" {
		s.stream(w, r)
		return
	}
	s.asked = append(s.asked, r.URL.Path+"?"+r.URL.RawQuery)
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	offset, _ := strconv.Atoi(r.FormValue("offset"))
	if offset > 10_000 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	all := slices.Clone(s.events)
	slices.Reverse(all)
	all = all[min(offset, len(all)):]
	fmt.Fprint(w, "[")
	for i, e := range all[:min(limit, len(all))] {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, `{"id":%q,"type":"sandbox.lifecycle.killed","eventData":{"reason":"timeout"},"sandboxId":"i1"}`, e)
	}
	fmt.Fprint(w, "]")
	s.events = append(s.events, id(len(s.events)+1)) // One more happens meanwhile.
}

func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	last := r.Header.Get("Last-Event-ID")
	s.asked = append(s.asked, last+"?"+r.URL.RawQuery)
	if len(s.refuse) > 0 {
		status := s.refuse[0]
		s.refuse = s.refuse[1:]
		w.WriteHeader(status)
		return
	}
	if last == "" {
		last = First
		if n := len(s.events); n > 0 {
			last = s.events[n-1]
		}
	}
	fmt.Fprintf(w, "retry: 1000\nid: %s\n\n: keep-alive\n\n", last)
	sent := 0
	for _, e := range s.events {
		if e > last && sent < s.most {
			fmt.Fprintf(w, "id: %s\ndata: {\"id\":%q}\n\n", e, e)
			sent++
		}
	}
	if sent < s.most {
		return
	}
	fmt.Fprint(w, "data: {\"id\":") // It is cut in the middle of one.
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestNewestFollowsThePages(t *testing.T) {
	s := &server{}
	for i := range 350 {
		s.events = append(s.events, id(i+1))
	}
	events, err := Newest(t.Context(), serve(t, s), Filter{SandboxID: "i/1", Types: []sandbox.EventType{"a", "b"}}, 250)
	if err != nil || len(events) != 250 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i, e := range events {
		if e.ID != id(350-i) || e.Type != sandbox.EventKilled || string(e.Data) != `{"reason":"timeout"}` {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	if s.asked[0] != "/events/sandboxes/i/1?limit=100&offset=0&types=a&types=b" {
		t.Errorf("asked %q", s.asked)
	}
	if none, err := Newest(t.Context(), serve(t, &server{}), Filter{}, 10); err != nil || none == nil || len(none) > 0 {
		t.Errorf("%v, %v", none, err)
	}
}

// Pages end at an offset; what is behind it comes from a stream.
func TestNewestHasMoreThanPagesHave(t *testing.T) {
	s := &server{most: 1 << 20}
	for i := range 12_000 {
		s.events = append(s.events, id(i+1))
	}
	for _, limit := range []int{11_000, 13_000} {
		n := len(s.events)
		events, err := Newest(t.Context(), serve(t, s), Filter{}, limit)
		if err != nil || len(events) != min(limit, n) {
			t.Fatalf("%d of %d events, %v", len(events), n, err)
		}
		for i, e := range events {
			if e.ID != id(n-i) {
				t.Fatalf("event %d is %s of %d", i, e.ID, n)
			}
		}
	}
}

func TestFollowGoesOnWithoutAGapOrARepeat(t *testing.T) {
	s := &server{most: 3, refuse: []int{503}}
	for i := range 20 {
		s.events = append(s.events, id(i+1))
	}
	var got []string
	var waits []time.Duration
	enough := errors.New("enough")
	err := Follow(t.Context(), serve(t, s), Filter{SandboxID: "i1"}, id(2), func(e Event) error {
		got = append(got, e.ID)
		if e.ID == id(20) {
			return enough
		}
		return nil
	}, func(_ error, wait time.Duration) { waits = append(waits, wait) })
	if !errors.Is(err, enough) || !slices.Equal(got, s.events[2:]) {
		t.Errorf("%v, %v", got, err)
	}
	if s.asked[0] != id(2)+"?sandbox=i1" || s.asked[2] != id(5)+"?sandbox=i1" || len(waits) != 6 {
		t.Errorf("asked %q, waited %v", s.asked, waits)
	}
}

// A stream that ended before its first event goes on where it began.
func TestFollowFromNowOnHasNoGap(t *testing.T) {
	for _, before := range []int{0, 3} {
		s := &server{most: 100}
		for i := range before {
			s.events = append(s.events, id(i+1))
		}
		var got []string
		enough := errors.New("enough")
		ctx, cancel := context.WithCancel(t.Context())
		err := Follow(ctx, serve(t, s), Filter{}, "", func(e Event) error {
			got = append(got, e.ID)
			if len(got) == 2 {
				return enough
			}
			return nil
		}, func(error, time.Duration) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.asked) == 2 {
				cancel()
			}
			s.events = append(s.events, id(len(s.events)+1), id(len(s.events)+2)) // These happen meanwhile.
		})
		if want := []string{id(before + 1), id(before + 2)}; !errors.Is(err, enough) || !slices.Equal(got, want) {
			t.Errorf("after %d: %v, %v, want %v", before, got, err, want)
		}
		cancel()
	}
}

// An id counts when its message is complete: one whose data did not come is not left out.
func TestAnIDWithoutItsEventIsNotKept(t *testing.T) {
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		fmt.Fprintf(w, "retry: 1000\nid: %s\n\nid: %s\n", id(1), id(2))
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err := Follow(ctx, client.API{URL: srv.URL}, Filter{}, "", nil, func(error, time.Duration) {
		if len(asked) == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(asked, []string{"", id(1)}) {
		t.Errorf("asked after %q, %v", asked, err)
	}
}

// A server that says nothing any more, as one that is cut off, is asked again.
func TestASilentStreamIsReplaced(t *testing.T) {
	defer func(was time.Duration) { silence = was }(silence)
	silence = 100 * time.Millisecond
	streams := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		streams++
		if last := r.Header.Get("Last-Event-ID"); last != id(streams-1) {
			t.Errorf("stream %d goes on after %q", streams, last)
		}
		fmt.Fprintf(w, "id: %s\ndata: {\"id\":%q}\n\n", id(streams), id(streams))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enough := errors.New("enough")
	var retries []error
	err := Follow(ctx, client.API{URL: srv.URL, Key: "k"}, Filter{}, id(0), func(e Event) error {
		if e.ID == id(3) {
			return enough
		}
		return nil
	}, func(err error, _ time.Duration) { retries = append(retries, err) })
	if !errors.Is(err, enough) || len(retries) != 2 || !errors.Is(retries[0], errSilent) {
		t.Errorf("%v after the failures %v", err, retries)
	}
}

func TestFollowEnds(t *testing.T) {
	refused := &server{refuse: []int{400}}
	err := Follow(t.Context(), serve(t, refused), Filter{}, "x", nil, nil)
	if e := new(client.Error); !errors.As(err, &e) || e.Code != 400 {
		t.Errorf("a refusal: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = Follow(ctx, serve(t, &server{most: 1}), Filter{}, First, nil, func(error, time.Duration) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the end of its context: %v", err)
	}
}

func TestTypes(t *testing.T) {
	for name, want := range map[string]sandbox.EventType{"killed": sandbox.EventKilled, "sandbox.network.denied": sandbox.EventDenied, "denied": sandbox.EventDenied, "lifecycle": ""} {
		if got, err := TypeOf(name); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}
