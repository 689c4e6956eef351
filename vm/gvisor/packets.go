//go:build linux

package gvisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/control"
	"github.com/rundlet/rundlet/vm/gvisor/links"
)

// packets holds the packet sockets of a machine until its sandbox process has ended. Who closes the
// last copy of one waits until every processor has passed a point of rest (an RCU grace
// period), some 10 ms: the end of the process does not have to.
type packets struct {
	mu     sync.Mutex
	n      *control.Network
	closed bool
}

// take makes the network of a machine whose sandbox process is pid, once: the addresses are
// taken then. start is the start time of that, or 0 for an unreaped child. The result stays that of packets.
func (p *packets) take(spec vm.Spec, pid int, start uint64) (*control.Network, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case spec.NetNS == "":
		return control.Loopback(), nil
	case p.closed:
		return nil, errEnded
	case p.n != nil:
		return p.n, nil
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	// Its number may be another process's now, whose network is not ours to take.
	if _, began, err := process.State(pid); err != nil || start != 0 && began != start {
		return nil, errors.Join(errEnded, err)
	}
	n, err := links.Take(namespace)
	if err != nil {
		return nil, err
	}
	if !hasAddress(n, spec.GuestIP) {
		n.Close()
		return nil, fmt.Errorf("the network namespace has lost the sandbox's address %s, as by an earlier start that was broken off", spec.GuestIP)
	}
	p.n = n
	return n, nil
}

var errEnded = fmt.Errorf("%w: the sandbox has ended", vm.ErrUnavailable)

// hasAddress reports whether a network has an address; the empty one, whether or not it has any.
func hasAddress(n *control.Network, address string) bool {
	return address == "" || slices.ContainsFunc(n.FDBasedLinks, func(l control.FDBasedLink) bool {
		return slices.ContainsFunc(l.Addresses, func(a control.IPWithPrefix) bool { return a.Address.Equal(net.ParseIP(address)) })
	})
}

// close closes the sockets, which goes on when it has returned. The sandbox process has ended, or
// is released.
func (p *packets) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && p.n != nil {
		go p.n.Close()
	}
	p.closed = true
}
