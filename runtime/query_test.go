package runtime

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

func ids(list []sandbox.Sandbox) string {
	var out []string
	for _, sb := range list {
		out = append(out, sb.Metadata["n"])
	}
	return strings.Join(out, " ")
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		var all []sandbox.Sandbox
		for _, n := range []string{"1", "2", "3", "4"} {
			all = append(all, f.create(func(r *sandbox.CreateRequest) {
				r.Metadata = map[string]string{"n": n, "even": map[bool]string{true: "yes"}[n == "2" || n == "4"]}
			}))
			time.Sleep(time.Second)
		}
		for _, tc := range []struct {
			name   string
			filter sandbox.ListFilter
			want   string
		}{
			{"newest first", sandbox.ListFilter{}, "4 3 2 1"},
			{"ascending", sandbox.ListFilter{Ascending: true}, "1 2 3 4"},
			{"a page", sandbox.ListFilter{Limit: 2}, "4 3"},
			{"the page behind a cursor", sandbox.ListFilter{Limit: 2, After: &sandbox.Cursor{StartedAt: all[2].StartedAt, ID: all[2].ID}}, "2 1"},
			{"behind a cursor, ascending", sandbox.ListFilter{Ascending: true, After: &sandbox.Cursor{StartedAt: all[2].StartedAt, ID: all[2].ID}}, "4"},
			{"a cursor whose sandbox is gone", sandbox.ListFilter{After: &sandbox.Cursor{StartedAt: all[1].StartedAt.Add(time.Millisecond), ID: "igone"}}, "2 1"},
			{"by metadata", sandbox.ListFilter{Metadata: map[string]string{"even": "yes"}}, "4 2"},
			{"by metadata, all must match", sandbox.ListFilter{Metadata: map[string]string{"even": "yes", "n": "3"}}, ""},
			{"by unknown template", sandbox.ListFilter{Template: "other"}, ""},
			{"by alias", sandbox.ListFilter{Template: "base", Limit: 1}, "4"},
			{"started at or after", sandbox.ListFilter{StartedAfter: all[2].StartedAt.Truncate(time.Millisecond)}, "4 3"},
			{"only paused", sandbox.ListFilter{States: []sandbox.State{sandbox.StatePaused}}, ""},
		} {
			got, err := f.rt.List(context.Background(), tc.filter)
			if err != nil || ids(got) != tc.want {
				t.Errorf("%s: got %q, %v; want %q", tc.name, ids(got), err, tc.want)
			}
		}
	})
}

func TestWhatIsReturnedIsACopy(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	sb.Metadata["who"] = "changed"
	if got, _ := f.rt.Get(context.Background(), sb.ID); got.Metadata["who"] != "me" {
		t.Error("a caller changed the sandbox")
	}
}

func TestDial(t *testing.T) {
	f := newFixture(t)
	f.ports = map[uint16]func(net.Conn){80: func(c net.Conn) { io.WriteString(c, "hello") }}
	sb := f.create()
	conn, err := f.rt.Dial(context.Background(), sb.ID, 80)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b, _ := io.ReadAll(conn); string(b) != "hello" {
		t.Errorf("read %q", b)
	}
	if _, err := f.rt.Dial(context.Background(), sb.ID, 81); !errors.Is(err, sandbox.ErrPortClosed) {
		t.Errorf("closed port: %v", err)
	}
	if _, err := f.rt.Dial(context.Background(), "iunknown", 80); !errors.Is(err, sandbox.ErrNotRunning) {
		t.Errorf("unknown sandbox: %v", err)
	}
}

// A kill that waits for a call which it breaks off has the sandbox already: no connection is made.
func TestNoDialDuringAKill(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	known, _ := f.rt.live.Find(sb.ID)
	f.mu.Lock()
	f.dial = func(string) error {
		t.Error("a connection was tried")
		return nil
	}
	f.mu.Unlock()
	known.Condemn("killed by request")
	if _, err := f.rt.Dial(context.Background(), sb.ID, 80); !errors.Is(err, sandbox.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// A connection that a pause broke off says nothing about the port, also if the sandbox runs again by now.
func TestADialThatAPauseBrokeOffIsNotOfAClosedPort(t *testing.T) {
	f, ctx := newFixture(t), context.Background()
	sb := f.create()
	var paused atomic.Bool
	f.mu.Lock()
	f.dial = func(string) error {
		if !paused.CompareAndSwap(false, true) {
			return nil
		}
		err := f.rt.Pause(ctx, sb.ID, true)
		if err == nil {
			_, _, err = f.rt.Connect(ctx, sb.ID, time.Hour)
		}
		if err != nil {
			t.Error(err)
		}
		return vm.ErrUnavailable
	}
	f.mu.Unlock()
	if _, err := f.rt.Dial(ctx, sb.ID, 81); !errors.Is(err, sandbox.ErrNotRunning) {
		t.Errorf("broken off: %v", err)
	}
	if _, err := f.rt.Dial(ctx, sb.ID, 81); !errors.Is(err, sandbox.ErrPortClosed) {
		t.Errorf("closed: %v", err)
	}
}
