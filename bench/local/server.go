package local

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// serve opens a node and serves it on a free port.
func (c Config) serve(ctx context.Context, dirs layout.Layout, want bench.Config, size sandbox.Size) (_ *bench.Server, _ vm.Runtime, err error) {
	ctx, cancel := context.WithCancel(ctx)
	room := node.DefaultCapacity
	room.Overcommit.Sandboxes, room.Pending = cmp.Or(want.Sandboxes, room.Overcommit.Sandboxes), cmp.Or(want.Pending, room.Pending)
	room.Overcommit.Memory, room.Overcommit.Disk = 16, 100 // Their size is a limit that few come near.
	room.Wait = 5 * time.Minute
	n, err := c.open(ctx, node.Config{
		Dirs: dirs, Ephemeral: true, NoUplink: true, NetworkSlots: 4, Capacity: room, Size: size, Latency: &latency.Recorder{},
		Warm: pool.Target{Ready: want.Warm, Prepared: want.Prepared}, Progress: c.Progress,
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	served := make(chan error, 1)
	serving := false
	closeAll := func() error {
		cancel()
		var err error
		if serving {
			err = <-served
		}
		return errors.Join(err, n.Close(node.EndAll))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	bare, err := under(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	keys := new(e2b.MemoryKeys)
	serving = true
	go func() {
		served <- e2b.NewServer(e2b.Config{}, n.Runtime, keys).Serve(ctx, ln)
	}()
	newKey := func(ctx context.Context, name string) (string, error) {
		_, key, err := keys.Create(ctx, name)
		return key, err
	}
	key, err := newKey(ctx, "bench")
	if err != nil {
		return nil, nil, err
	}
	return &bench.Server{
		API:    client.API{URL: "http://" + ln.Addr().String(), Key: key},
		NewKey: newKey, Samples: n.Runtime.Latency(), Bare: bare, Close: closeAll,
		Load: func() bench.Load { return load(n.Runtime.Load()) },
	}, n.Driver, nil
}

func load(l runtime.Load) bench.Load {
	out := bench.Load{Pending: l.Pending}
	for _, w := range l.Warm {
		out.Ready += w.Ready
		out.Prepared += w.Prepared
		out.Hits += w.Hits
		out.Misses += w.Misses
		out.Busy += w.InFlight
	}
	return out
}
