// Package memvm is the in-memory driver: the reference for the rules of package
// vm, and the machine that the tests of upper layers run on. Its guests are a
// key/value memory, files, a console and listeners; nothing of it touches the
// host, but for NewHostIn. It may import vm, internal/turn and the standard library; tests of any package may
// import it, production code should not.
package memvm

import (
	"context"
	"net"
	"sync"

	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
)

// Options inject faults and guest behaviour. The zero value is a driver that
// always works and whose guests listen on no port.
type Options struct {
	// Host holds the guests and snapshots. A nil Host is a fresh one. A second
	// driver over the Host of a first stands for a restarted daemon (see
	// Driver.Adopt); the first must not be used any more.
	Host *Host
	// Hang, if set, is called in the middle of every call that asks the machine
	// for something ("create", "start", "stop", "snapshot", "adopt"), before
	// Delay. If it returns a channel, the call hangs, as one on a machine that
	// does not answer: whatever happens to its context, until the channel is
	// closed or the machine is ended, and then it fails. A create whose context
	// ends breaks itself off; the other calls are abandoned by their callers.
	Hang func(op, id string) <-chan struct{}
	// Delay, if set, is called in the middle of every lifecycle call, when part
	// of the effect is there already. It may block; the call looks at its
	// context again afterwards.
	Delay func(ctx context.Context, op, id string)
	// Fail, if set, is called after Delay. An error makes the call undo what it
	// did and return the error, wrapped. After a destroy that failed the machine
	// is as it was, and can be destroyed again.
	Fail func(op, id string) error
	// Handler, if set, serves the ports on which the guest itself has no
	// listener: it returns a function that serves one connection, nil without a listener.
	// The driver closes the connection when the served function returns and
	// when the guest ends.
	Handler func(id string, port uint16) func(net.Conn)
	// Version is that of the mechanism; "1" if empty. A snapshot of another one
	// is incompatible.
	Version string
}

// Driver implements vm.Runtime and all optional interfaces of package vm. It is
// safe for concurrent use.
type Driver struct {
	opts Options
	host *Host

	mu      sync.RWMutex
	records map[string]*record // guarded by mu, as the fields of each record
}

// record is one machine. Its turn serialises the lifecycle calls; the fields
// are guarded by Driver.mu so that queries never wait for such a call.
type record struct {
	turn   turn.Turn
	status vm.Status // empty: the id is reserved, the machine not there yet
	guest  *Guest    // nil when destroyed
}

// New makes a driver.
func New(opts Options) *Driver {
	if opts.Host == nil {
		opts.Host = NewHost()
	}
	if opts.Version == "" {
		opts.Version = "1"
	}
	return &Driver{opts: opts, host: opts.Host, records: map[string]*record{}}
}

// Host returns where the driver's guests and snapshots live.
func (d *Driver) Host() *Host { return d.host }

// Guest returns the inside of a machine; nil if it is unknown or destroyed.
func (d *Driver) Guest(id string) *Guest {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if r := d.records[id]; r != nil && r.status != "" {
		return r.guest
	}
	return nil
}

// Basic hides the optional interfaces of d: the result has only the required methods.
func Basic(d *Driver) vm.Runtime { return &basic{Runtime: d, driver: d} }

type basic struct {
	vm.Runtime
	driver *Driver
}

// Unwrap gives tests the driver behind a basic one.
func (b *basic) Unwrap() *Driver { return b.driver }

func (b *basic) Info() vm.Info {
	info := b.Runtime.Info()
	info.Capabilities = nil
	return info
}
