package runtime

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func ids(list []Sandbox) string {
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
		var all []Sandbox
		for _, n := range []string{"1", "2", "3", "4"} {
			all = append(all, f.create(func(r *CreateRequest) {
				r.Metadata = map[string]string{"n": n, "even": map[bool]string{true: "yes"}[n == "2" || n == "4"]}
			}))
			time.Sleep(time.Second)
		}
		for _, tc := range []struct {
			name   string
			filter ListFilter
			want   string
		}{
			{"newest first", ListFilter{}, "4 3 2 1"},
			{"ascending", ListFilter{Ascending: true}, "1 2 3 4"},
			{"a page", ListFilter{Limit: 2}, "4 3"},
			{"the page behind a cursor", ListFilter{Limit: 2, After: &Cursor{all[2].StartedAt, all[2].ID}}, "2 1"},
			{"behind a cursor, ascending", ListFilter{Ascending: true, After: &Cursor{all[2].StartedAt, all[2].ID}}, "4"},
			{"a cursor whose sandbox is gone", ListFilter{After: &Cursor{all[1].StartedAt.Add(time.Millisecond), "igone"}}, "2 1"},
			{"by metadata", ListFilter{Metadata: map[string]string{"even": "yes"}}, "4 2"},
			{"by metadata, all must match", ListFilter{Metadata: map[string]string{"even": "yes", "n": "3"}}, ""},
			{"by unknown template", ListFilter{Template: "other"}, ""},
			{"by alias", ListFilter{Template: "base", Limit: 1}, "4"},
			{"started at or after", ListFilter{StartedAfter: all[2].StartedAt.Truncate(time.Millisecond)}, "4 3"},
			{"only paused", ListFilter{States: []State{StatePaused}}, ""},
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
	if _, err := f.rt.Dial(context.Background(), sb.ID, 81); !errors.Is(err, ErrPortClosed) {
		t.Errorf("closed port: %v", err)
	}
	if _, err := f.rt.Dial(context.Background(), "iunknown", 80); !errors.Is(err, ErrNotRunning) {
		t.Errorf("unknown sandbox: %v", err)
	}
}
