//go:build linux

package gvisor

import (
	"fmt"
	"sync"

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
// taken then. The result stays that of packets.
func (p *packets) take(spec vm.Spec, pid int) (*control.Network, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case spec.NetNS == "":
		return control.Loopback(), nil
	case p.closed:
		return nil, fmt.Errorf("%w: the sandbox has ended", vm.ErrUnavailable)
	case p.n != nil:
		return p.n, nil
	}
	n, err := links.Take(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err == nil {
		p.n = n
	}
	return n, err
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
