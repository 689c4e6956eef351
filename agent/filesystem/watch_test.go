//go:build linux

package filesystem

import (
	"errors"
	"os"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb"
)

// scripted is a watcher whose kernel events come from the test.
func scripted(t *testing.T) (p *polled, events chan []kernelEvent, errs chan error) {
	t.Helper()
	events, errs = make(chan []kernelEvent), make(chan error)
	p = &polled{done: make(chan struct{}), tree: newTree(t.TempDir(), &inotify{events: events, errors: errs})}
	p.tree.dirs[0] = p.tree.top
	return p, events, errs
}

func written(name string) []kernelEvent { return []kernelEvent{{mask: unix.IN_MODIFY, name: name}} }

// collecting runs collect until the returned stop.
func collecting(p *polled) (stop func()) {
	ended := make(chan struct{})
	go func() { p.collect(); close(ended) }()
	return func() { close(p.done); <-ended }
}

func TestEventsThatNobodyFetchesAreBounded(t *testing.T) {
	p, events, _ := scripted(t)
	stop := collecting(p)
	for range maxPolled + 10 {
		events <- written("f")
	}
	stop()
	got, err := p.take()
	if len(got) != maxPolled || err != nil {
		t.Fatalf("%d events, %v", len(got), err)
	}
	if got, err = p.take(); len(got) != 0 || connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("the loss is not reported:  %d events, %v", len(got), err)
	}
	if got, err = p.take(); len(got) != 0 || err != nil {
		t.Errorf("the loss is reported twice:  %v, %v", got, err)
	}
}

func TestKernelErrorIsToldOnceAndWatchingGoesOn(t *testing.T) {
	p, events, errs := scripted(t)
	stop := collecting(p)
	errs <- errOverflow
	// The next event is received after the error was kept.
	events <- written("lost")
	stop()
	if _, err := p.take(); connect.CodeOf(err) != connect.CodeResourceExhausted || !errors.Is(err, errOverflow) {
		t.Fatalf("%v", err)
	}
	p.done = make(chan struct{})
	stop = collecting(p)
	events <- written("kept")
	stop()
	if got, err := p.take(); err != nil || len(got) != 1 || got[0].GetName() != "kept" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTranslate(t *testing.T) {
	p, _, _ := scripted(t)
	// What the scan of a new directory found is not reported again, once.
	p.tree.top.found = map[string]bool{"found": true, "replaced": true}
	const create, write = filesystempb.EventType_EVENT_TYPE_CREATE, filesystempb.EventType_EVENT_TYPE_WRITE
	for _, tc := range []struct {
		name, file string
		mask       uint32
		want       []filesystempb.EventType
	}{
		{"one", "f", unix.IN_ATTRIB, []filesystempb.EventType{filesystempb.EventType_EVENT_TYPE_CHMOD}},
		{"two in order", "f", unix.IN_MODIFY | unix.IN_CREATE, []filesystempb.EventType{create, write}},
		{"found", "found", unix.IN_CREATE, nil},
		{"made again", "found", unix.IN_CREATE, []filesystempb.EventType{create}},
		{"moved over what was found", "replaced", unix.IN_MOVED_TO, []filesystempb.EventType{create}},
		{"unknown", "f", unix.IN_OPEN, nil},
	} {
		got, err := p.tree.translate([]kernelEvent{{mask: tc.mask, name: tc.file}})
		if err != nil || len(got) != len(tc.want) {
			t.Errorf("%s: %v, %v", tc.name, got, err)
			continue
		}
		for i, ev := range got {
			if ev.GetType() != tc.want[i] {
				t.Errorf("%s: %v", tc.name, got)
			}
		}
	}
}

func TestWatchersAreBoundedAndEndWithTheService(t *testing.T) {
	s, home := newService(t)
	before := openFiles(t)
	create := func() (string, error) {
		resp, err := s.CreateWatcher(t.Context(), connect.NewRequest(&filesystempb.CreateWatcherRequest{Path: home}))
		if err != nil {
			return "", err
		}
		return resp.Msg.GetWatcherId(), nil
	}
	first, err := create()
	if err != nil {
		t.Fatal(err)
	}
	// As many as there may be, without what the kernel would give them.
	s.watchers.mu.Lock()
	real := s.watchers.byID[first]
	for len(s.watchers.byID) < maxWatchers {
		s.watchers.byID["w"+string(rune(len(s.watchers.byID)))] = &polled{tree: &tree{kernel: &inotify{}}}
	}
	s.watchers.mu.Unlock()
	full := openFiles(t)
	if _, err := create(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	if n := openFiles(t); n != full {
		t.Errorf("%d files open, %d before the refusal", n, full)
	}
	s.watchers.mu.Lock()
	s.watchers.byID = map[string]*polled{first: real}
	s.watchers.mu.Unlock()
	s.Close()
	if _, err := s.GetWatcherEvents(t.Context(), connect.NewRequest(&filesystempb.GetWatcherEventsRequest{WatcherId: first})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("after the end: %v", err)
	}
	if n := openFiles(t); n != before {
		t.Errorf("%d files open, %d before", n, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestAMarkThatFailedIsTriedAgain: without marks the tree is never walked again.
func TestAMarkThatFailedIsTriedAgain(t *testing.T) {
	null, err := os.Open(os.DevNull) // Not an inotify queue: EINVAL.
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	k, err := newInotify()
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	tr := newTree(t.TempDir(), &inotify{file: null})
	tr.watchedLate()
	tr.kernel = k
	tr.watchedLate()
	if !tr.ahead {
		t.Error("no mark is in the queue")
	}
}
