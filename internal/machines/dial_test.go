package machines

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestDial(t *testing.T) {
	var table Table[*guest]
	m, stopped := show(t, &table, "a"), show(t, &table, "stopped")
	table.SetStatus(stopped, vm.StatusStopped)
	if err := m.Turn.Lock(t.Context(), "save"); err != nil { // It waits for no turn.
		t.Fatal(err)
	}
	defer m.Turn.Unlock()
	at := func(address string) func(*guest) string { return func(*guest) string { return address } }
	near, far := net.Pipe()
	defer far.Close()
	conn, err := table.Dial(t.Context(), "a", 80, func(_ context.Context, network, address string) (net.Conn, error) {
		if network != "tcp" || address != "[fd00::1]:80" {
			t.Errorf("dialed %s %s", network, address)
		}
		return near, nil
	}, at("fd00::1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m.Conns.End()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the end of the machine leaves the connection: %v", err)
	}

	ended, end := context.WithCancel(t.Context())
	end()
	refused := errors.New("refused")
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, refused }
	for name, c := range map[string]struct {
		ctx         context.Context
		id, address string
		want        error
	}{
		"refused":               {t.Context(), "a", "192.0.2.1", refused},
		"refused, as its class": {t.Context(), "a", "192.0.2.1", vm.ErrUnavailable},
		"given up":              {ended, "a", "192.0.2.1", context.Canceled},
		"without an address":    {t.Context(), "a", "", vm.ErrUnsupported},
		"stopped":               {t.Context(), "stopped", "192.0.2.1", vm.ErrInvalidTransition},
		"no machine":            {t.Context(), "none", "192.0.2.1", vm.ErrNotFound},
	} {
		conn, err := table.Dial(c.ctx, c.id, 80, refuse, at(c.address))
		var e *vm.Error
		if conn != nil || !errors.Is(err, c.want) || !errors.As(err, &e) || e.Op != "dial" || e.ID != c.id {
			t.Errorf("%s: %v %v", name, conn, err)
		}
		if name == "given up" && errors.Is(err, vm.ErrUnavailable) {
			t.Error("a call that is given up says that the guest cannot be reached")
		}
	}
}

func TestDialWithoutADialer(t *testing.T) {
	var table Table[*guest]
	show(t, &table, "a")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	conn, err := table.Dial(t.Context(), "a", port, nil, func(*guest) string { return "127.0.0.1" })
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
