package conns

import (
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

func TestOfManyConnectionsTheLeastTrustedMakeRoom(t *testing.T) {
	pipe := func() net.Conn { c, far := net.Pipe(); t.Cleanup(func() { far.Close() }); return c }
	isOpen := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now())
		_, err := c.Read(make([]byte, 1))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	type member struct {
		trust Trust
		busy  bool
	}
	// In the order in which they make room.
	order := []member{{Stranger, false}, {Stranger, true}, {Visitor, false}, {Keyed, false}, {Visitor, true}}
	c := New(len(order) + 1)
	conns := map[member]net.Conn{}
	for _, m := range append([]member{{Keyed, true}}, order...) {
		conn := pipe()
		ctx := c.Enter(t.Context(), conn)
		c.Raise(ctx, m.trust)
		if m.busy {
			c.Changed(conn, http.StateActive)
		}
		conns[m] = conn
	}
	for i, m := range order {
		late := pipe()
		ctx := c.Enter(t.Context(), late)
		c.Changed(late, http.StateActive)
		c.Raise(ctx, Keyed)
		if isOpen(conns[m]) || !isOpen(late) {
			t.Errorf("%+v did not make room", m)
		}
		for _, later := range order[i+1:] {
			if !isOpen(conns[later]) {
				t.Errorf("%+v made room before its turn", later)
			}
		}
	}
	late := pipe()
	c.Enter(t.Context(), late)
	if isOpen(late) || !isOpen(conns[member{Keyed, true}]) || c.Len() != len(order)+1 {
		t.Errorf("all are answered and have a key: the new one %v, an old one %v, %d are counted",
			isOpen(late), isOpen(conns[member{Keyed, true}]), c.Len())
	}
}
