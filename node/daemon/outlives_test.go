package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/telemetry"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// openSlots is a network of which a test needs no more than names.
type openSlots struct {
	mu   sync.Mutex
	next int
}

func (s *openSlots) Acquire(context.Context, egress.Policy) (machine.Slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	return machine.Slot{ID: fmt.Sprint("slot", s.next), GuestIP: netip.MustParseAddr("10.0.0.2")}, nil
}
func (*openSlots) Release(context.Context, string) error                       { return nil }
func (*openSlots) Refused(string, time.Time) ([]sandbox.Refusal, error)        { return nil, nil }
func (*openSlots) Refusals() <-chan struct{}                                   { return nil }
func (*openSlots) Traffic(string) (sandbox.Traffic, error)                     { return sandbox.Traffic{}, nil }
func (*openSlots) SetEgress(context.Context, string, egress.Policy) error      { return nil }
func (*openSlots) CheckProxy(context.Context, egress.Policy) error             { return nil }
func (*openSlots) Adopt(context.Context, []string) (missing []string, _ error) { return nil, nil }

// serving is a node over the in-memory driver with a sandbox that runs, one that
// is paused and a snapshot.
type serving struct {
	host *memvm.Host
	dirs layout.Layout
	ids  map[string]sandbox.State
	// change changes the configuration of the runtime; it may be nil.
	change func(*runtime.Config)
}

func (s *serving) open(t *testing.T) *node.Node {
	t.Helper()
	db, err := store.Open(t.Context(), s.dirs.Database())
	if err != nil {
		t.Fatal(err)
	}
	driver := memvm.New(memvm.Options{Host: s.host, Handler: func(_ string, port uint16) func(net.Conn) {
		if port != envd.Port && port != 80 {
			return nil
		}
		return busyGuest
	}})
	cfg := runtime.Config{
		Instance: s.dirs.Instance(), Driver: driver, Network: &openSlots{}, Store: db,
		Base: func(context.Context) (template.Image, error) {
			return template.Image{Spec: vm.Spec{Rootfs: "/base", Args: []string{"/agent"}}, Stamp: "1"}, nil
		},
		LockTemplates: func(context.Context) (func(), error) { return func() {}, nil },
		Capacity:      capacity.Budget{CPUs: 1 << 40, MemoryBytes: 1 << 50, DiskBytes: 1 << 60, Sandboxes: 10},
	}
	if s.change != nil {
		s.change(&cfg)
	}
	rt, err := runtime.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node.Node{Runtime: rt, Store: db, Driver: driver, Dirs: s.dirs}
	n.OnClose(func(context.Context) error { return db.Close() })
	n.OnClose(func(context.Context) error { rt.Close(); return nil })
	return n
}

func newServing(t *testing.T) (*serving, *node.Node) {
	t.Helper()
	return newServingOf(t, nil)
}

// newServingOf is newServing with a change of the runtime's configuration.
func newServingOf(t *testing.T, change func(*runtime.Config)) (*serving, *node.Node) {
	t.Helper()
	s := &serving{host: memvm.NewHost(), dirs: dirs(t), ids: map[string]sandbox.State{}, change: change}
	n := s.open(t)
	for _, state := range []sandbox.State{sandbox.StateRunning, sandbox.StatePaused} {
		sb, err := n.Runtime.Create(t.Context(), sandbox.CreateRequest{Template: "base", Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.ids[sb.ID] = state
		if state == sandbox.StateRunning {
			_, err = n.Runtime.Snapshot(t.Context(), sb.ID, "precious", "")
		} else {
			err = n.Runtime.Pause(t.Context(), sb.ID, true)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, n
}

// left are the sandboxes and snapshots that the next start finds.
func (s *serving) left(t *testing.T) (map[string]sandbox.State, int) {
	t.Helper()
	n := s.open(t)
	defer n.Close(node.LeaveAll)
	list, err := n.Runtime.List(t.Context(), sandbox.ListFilter{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]sandbox.State{}
	for _, sb := range list {
		out[sb.ID] = sb.State
	}
	snapshots, err := n.Runtime.Snapshots(t.Context(), sandbox.SnapshotFilter{Name: "precious"})
	if err != nil {
		t.Fatal(err)
	}
	return out, len(snapshots)
}

// stopped is the cause that a program gives for the end of its context.
type stopped struct{ os.Signal }

func (s stopped) Error() string { return s.String() }

func TestUserDataOutlivesEveryReturnOfServe(t *testing.T) {
	signal := func(sig os.Signal) func(*testing.T, *serving, *node.Node, net.Listener, *telemetry.Telemetry, context.CancelCauseFunc) {
		return func(_ *testing.T, _ *serving, _ *node.Node, _ net.Listener, _ *telemetry.Telemetry, cancel context.CancelCauseFunc) {
			cancel(stopped{sig})
		}
	}
	for name, c := range map[string]struct {
		happens func(*testing.T, *serving, *node.Node, net.Listener, *telemetry.Telemetry, context.CancelCauseFunc)
		early   bool // before it serves
		ends    bool // what runs, and nothing else
		err     string
	}{
		"SIGINT":  {signal(os.Interrupt), false, true, ""},
		"SIGTERM": {signal(syscall.SIGTERM), false, false, ""},
		"a context that ends for another reason": {
			func(_ *testing.T, _ *serving, _ *node.Node, _ net.Listener, _ *telemetry.Telemetry, cancel context.CancelCauseFunc) {
				cancel(errors.New("the parent went away"))
			}, false, false, ""},
		"metrics that are registered already": {
			func(t *testing.T, _ *serving, n *node.Node, _ net.Listener, tel *telemetry.Telemetry, _ context.CancelCauseFunc) {
				if err := tel.RegisterState(n.State); err != nil {
					t.Fatal(err)
				}
			}, false, false, "register the state"},
		"a key lock that cannot be taken": {
			func(t *testing.T, s *serving, _ *node.Node, _ net.Listener, _ *telemetry.Telemetry, _ context.CancelCauseFunc) {
				obstruct(t, keys.DefaultFile(s.dirs)+".lock")
			}, true, false, "is a directory"},
		"a key file that cannot be written": {
			func(t *testing.T, s *serving, _ *node.Node, _ net.Listener, _ *telemetry.Telemetry, _ context.CancelCauseFunc) {
				obstruct(t, keys.DefaultFile(s.dirs))
			}, true, false, "is a directory"},
		"a database that does not answer": {
			func(t *testing.T, _ *serving, n *node.Node, _ net.Listener, _ *telemetry.Telemetry, _ context.CancelCauseFunc) {
				if err := n.Store.Close(); err != nil {
					t.Fatal(err)
				}
			}, true, false, "closed"},
		"an endpoint file that cannot be written": {
			func(t *testing.T, s *serving, _ *node.Node, _ net.Listener, _ *telemetry.Telemetry, _ context.CancelCauseFunc) {
				obstruct(t, filepath.Join(s.dirs.StateDir, "endpoint"))
			}, true, false, "endpoint"},
		"a listener that fails": {
			func(_ *testing.T, _ *serving, _ *node.Node, ln net.Listener, _ *telemetry.Telemetry, _ context.CancelCauseFunc) {
				ln.Close()
			}, false, false, "use of closed"},
	} {
		t.Run(name, func(t *testing.T) {
			s, n := newServing(t)
			tel, endTelemetry, err := openTelemetry(t.Context(), "dev", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer endTelemetry()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.early {
				c.happens(t, s, n, ln, tel, cancel)
			}
			cfg := Config{Ending: func(cause error) node.Ending {
				var s stopped
				if errors.As(cause, &s) && s.Signal == os.Interrupt {
					return node.EndRunning
				}
				return node.LeaveAll
			}}
			cfg.Node.Log = slog.New(slog.DiscardHandler)
			front := newFront(ln, e2b.NewStarting(e2b.Config{}))
			if err = front.begin(ctx, n.Store, s.dirs); err != nil {
				err = errors.Join(err, n.Close(node.LeaveAll))
			} else {
				if !c.early {
					c.happens(t, s, n, ln, tel, cancel)
				}
				err = cfg.serveNode(ctx, n, tel, front)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("returned %v, want %q", err, c.err)
			}
			want := maps.Clone(s.ids)
			maps.DeleteFunc(want, func(_ string, state sandbox.State) bool { return c.ends && state == sandbox.StateRunning })
			got, snapshots := s.left(t)
			if !maps.Equal(got, want) || snapshots != 1 {
				t.Errorf("left are %v and %d snapshots, want %v and 1", got, snapshots, want)
			}
		})
	}
}

// obstruct puts a directory where a file is to be written.
func obstruct(t *testing.T, path string) {
	t.Helper()
	_ = os.Remove(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// dirs returns directories of a test's own, which exist.
func dirs(t *testing.T) layout.Layout {
	t.Helper()
	root := t.TempDir()
	l := layout.Layout{StateDir: filepath.Join(root, "state"), CacheDir: filepath.Join(root, "cache"), RunDir: filepath.Join(root, "run")}
	if err := l.Make(slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return l
}
