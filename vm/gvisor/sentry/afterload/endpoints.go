//go:build linux

package afterload

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// localConnections reports whether the guest has TCP connections to itself,
// those in TIME-WAIT included. gVisor keeps these over a restore and no others.
// When the same two ports connect again, the end that waits takes a new
// connection for an old packet, unless its sequence number is above the old
// one's, which only the old secret assures. Without connections each restore has
// a new secret, so sandboxes of one template do not share one.
func localConnections(s *stack.Stack) bool {
	for _, ep := range s.RegisteredEndpoints() {
		if e, ok := ep.(*tcp.Endpoint); ok && e.EndpointState() != tcp.StateListen {
			if info, ok := e.Info().(*stack.TransportEndpointInfo); ok && loopback(info.ID.LocalAddress) {
				return true
			}
		}
	}
	return false
}

func loopback(a tcpip.Address) bool {
	return a == header.IPv6Loopback || a.Len() == header.IPv4AddressSize && header.IsV4LoopbackAddress(a)
}

// foreignStacks returns the network stacks of the guest but root: those of the
// network namespaces that its programs made.
func foreignStacks(k *kernel.Kernel, root *stack.Stack) (all []*stack.Stack) {
	seen := map[*stack.Stack]bool{nil: true, root: true}
	add := func(s *stack.Stack) {
		if !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	for _, t := range k.TaskSet().Root.Tasks() {
		if ns := t.NetworkNamespace(); ns != nil {
			if s, ok := ns.Stack().(*netstack.Stack); ok {
				add(s.Stack)
			}
		}
	}
	// Connections outlive the processes of a namespace for a while.
	for _, ep := range tcpip.GetDanglingEndpoints() {
		if e, ok := ep.(*tcp.Endpoint); ok {
			if s, err := endpointStack(e); err == nil {
				add(s)
			}
		}
	}
	return all
}

func tcpEndpoints(stacks []*stack.Stack) (all []*tcp.Endpoint) {
	for _, s := range stacks {
		for _, ep := range s.RegisteredEndpoints() {
			if e, ok := ep.(*tcp.Endpoint); ok {
				all = append(all, e)
			}
		}
	}
	return all
}

// endpointStack returns the stack of an endpoint.
func endpointStack(e *tcp.Endpoint) (*stack.Stack, error) {
	field, err := unexported.Field(e, "stack")
	if err != nil {
		return nil, err
	}
	s, ok := field.Interface().(*stack.Stack)
	if !ok {
		return nil, fmt.Errorf("stack is a %v", field.Type())
	}
	return s, nil
}

// Restore implements stack.RestoredEndpoint. gVisor waits for the connections of
// all stacks, but restores those of the root only, so that it waited for ever.
// Their namespaces are empty after a restore, so the connections end.
func (a *afterLoad) Restore(s *stack.Stack) {
	for _, e := range a.foreign {
		e.Restore(s)
	}
	a.foreign = nil
}

// Resume implements stack.ResumableEndpoint: it lets the guest that was saved go
// on. gVisor stops the sockets of all stacks and frees the root's only.
func (a *afterLoad) Resume() {
	for _, s := range a.stopped {
		s.Resume()
	}
	a.stopped = nil
}

// forgetResumable clears the list of what goes on after a save, with which a
// stack is saved by mistake. In a loaded stack it is unused, but what is in it
// is saved again, so that endpoints that are long closed would stay for ever.
func forgetResumable(s *stack.Stack) error {
	field, err := unexported.Field(s, "resumableEndpoints")
	if err != nil {
		return err
	}
	field.SetZero()
	return nil
}
