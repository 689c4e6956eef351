package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/spf13/pflag"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// nodeOptions say how this process runs sandboxes.
type nodeOptions struct {
	// ephemeral: everything of the instance goes when the process ends, by
	// itself or, after a crash, by the next process that starts.
	ephemeral bool
	// acceptEmpty: the database may be empty beside saved snapshots.
	acceptEmpty bool
	// ahead is how many network slots are made ahead of time.
	ahead int
	// noUplink: no sandbox reaches the internet, and nothing is changed in the
	// host's network namespace.
	noUplink bool
	// sandboxMbit and uplinkMbit are bandwidths in Mbit/s: of one sandbox to the
	// internet and back, and of all sandboxes to it. 0 is the default of network.
	sandboxMbit, uplinkMbit uint
	// nameservers are what sandboxes ask; none means public ones.
	nameservers []string
	// proxies are the reverse proxies whose X-Forwarded-For names the client.
	proxies []netip.Prefix
	// requireSecure: no create makes a sandbox whose agent is open.
	requireSecure bool
	log           *slog.Logger
	progress      func(string)
	// opened is called with the database before anything is recovered; nil is
	// nobody.
	opened func(*store.Store) error
	// recovering is told how far the start is; nil is nobody.
	recovering func(done, total int)
	// latency takes the samples; the runtime has its own if it is nil.
	latency *latency.Recorder
	// tracer is told of the runtime's stages; nil is nobody.
	tracer   step.Tracer
	capacity capacityOptions
	// shares are what one API key may have; zero is a default.
	shares runtime.Shares
	// warm is what is kept warm of the base; the zero value is nothing.
	warm runtime.WarmTarget
	// supervision is of a daemon; its Sample is filled in.
	supervision runtime.Supervision
	// size is a sandbox's; the zero value is the default.
	size sandbox.Size
}

func (o *nodeOptions) nameserverFlag(f *pflag.FlagSet) {
	f.StringSliceVar(&o.nameservers, "nameserver", nil, "address of a name server for sandboxes, also a private one (default 8.8.8.8 and 1.1.1.1)")
}

// node is the stack of one process: what openNode wired and Close takes apart.
type node struct {
	runtime *runtime.Runtime
	store   *store.Store
	driver  vm.Runtime
	network any // *network.Network, on systems that have it
	// closers run in reverse order.
	closers []func(context.Context) error
}

// ending says what becomes of the sandboxes when a node is closed.
type ending int

const (
	// leaveAll lets what runs run on, for the next start to find.
	leaveAll ending = iota
	// endRunning ends what runs and leaves what is saved.
	endRunning
	// endAll leaves nothing: for an instance that nobody opens again.
	endAll
)

// shutdownTimeout bounds what is left when the sandboxes have ended.
const shutdownTimeout = time.Minute

// Close takes the node apart.
func (n *node) Close(how ending) error {
	var errs []error
	if n.runtime != nil {
		ctx, cancel := context.WithTimeout(context.Background(), n.runtime.EndTimeout())
		defer cancel()
		var err error
		switch how {
		case leaveAll:
		case endRunning:
			err = n.runtime.EndRunning(ctx, "the daemon was shut down")
		case endAll:
			err = n.runtime.KillAll(ctx, "the daemon was shut down")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end sandboxes: %w", err))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for i := len(n.closers) - 1; i >= 0; i-- {
		if err := n.closers[i](ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (n *node) onClose(f func(context.Context) error) { n.closers = append(n.closers, f) }
