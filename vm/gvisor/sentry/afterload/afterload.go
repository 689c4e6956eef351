//go:build linux

// Package afterload makes a kernel that was loaded go on as if it had not been saved.
//
// It may import gVisor and unexported; package sentry imports it.
package afterload

import (
	"context"
	"fmt"
	"math"
	"reflect"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack"
	"gvisor.dev/gvisor/pkg/state"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// afterLoad is an object in each sandbox's kernel that is saved and loaded with
// it. While it is loaded, before gVisor starts the clocks and the guest, it
// makes the kernel go on as if it had not been saved: see docs/upstream for what
// gVisor already does. gVisor has no hook for that, but it saves the endpoints
// that no program owns with their own methods, and this is one of them.
// No network stack delivers anything to it, so of all the methods of an endpoint
// only Abort is called.
type afterLoad struct {
	tcpip.Endpoint

	timekeeper *kernel.Timekeeper
	// stack is loaded before protocol, which uses it without waiting for it.
	stack *stack.Stack
	// protocol is the kernel's TCP, and secret is what its initial sequence
	// numbers are made with. Empty, the loaded kernel draws its own.
	protocol stack.TransportProtocol
	secret   []byte
	// foreign are the connections of network namespaces that the guest made.
	foreign []*tcp.Endpoint
	// stopped are the stacks of those in the guest that was saved. Not saved.
	stopped []*stack.Stack
}

// afterLoadType is in every snapshot, and a program without it cannot load
// them. So neither the name nor the fields change.
const afterLoadType = "rundlet/vm/gvisor.afterLoad"

func init() { state.Register((*afterLoad)(nil)) }

// inKernel is saved with this process's kernel.
var inKernel = &afterLoad{}

// Install puts the object into the kernel that this process will run.
func Install() { tcpip.AddDanglingEndpoint(inKernel) }

// Abort implements tcpip.Endpoint; gVisor calls it when the process ends.
func (*afterLoad) Abort() {}

// StateTypeName implements state.Type.
func (*afterLoad) StateTypeName() string { return afterLoadType }

// StateFields implements state.Type.
func (*afterLoad) StateFields() []string {
	return []string{"timekeeper", "stack", "protocol", "secret", "foreign"}
}

// StateSave implements state.SaverLoader. The guest and its network stand still.
func (a *afterLoad) StateSave(sink state.Sink) {
	*a = afterLoad{}
	if k, ok := sink.Context().Value(kernel.CtxKernel).(*kernel.Kernel); ok {
		a.take(k)
	}
	sink.Save(0, &a.timekeeper)
	sink.Save(1, &a.stack)
	sink.Save(2, &a.protocol)
	sink.Save(3, &a.secret)
	sink.Save(4, &a.foreign)
}

// take saves the state that the next load of a kernel needs.
func (a *afterLoad) take(k *kernel.Kernel) {
	a.timekeeper = k.Timekeeper()
	s, ok := k.RootNetworkNamespace().Stack().(*netstack.Stack)
	if !ok {
		return
	}
	a.stack, a.protocol = s.Stack, s.Stack.TransportProtocolInstance(tcp.ProtocolNumber)
	if a.stopped = foreignStacks(k, a.stack); len(a.stopped) > 0 {
		a.foreign = tcpEndpoints(a.stopped)
		a.stack.RegisterResumableEndpoint(a)
	}
	if !localConnections(a.stack) {
		return
	}
	secret, err := sequenceSecret(a.protocol)
	if err != nil {
		log.Warningf("Connections within the guest may hang once it is restored: %v", err)
		return
	}
	a.secret = append(a.secret, secret...)
}

// StateLoad implements state.SaverLoader.
func (a *afterLoad) StateLoad(_ context.Context, source state.Source) {
	// TCP draws its secret once it is loaded; wait for that.
	source.LoadWait(0, &a.timekeeper)
	source.LoadWait(1, &a.stack)
	source.LoadWait(2, &a.protocol)
	source.LoadWait(3, &a.secret)
	source.LoadWait(4, &a.foreign)
	source.AfterLoad(func() {
		// gVisor adds the loaded object itself. With both of them, snapshots
		// would grow by one each time.
		tcpip.DeleteDanglingEndpoint(inKernel)
		inKernel = a
		if a.stack != nil {
			a.stack.RegisterRestoredEndpoint(a)
			if err := forgetResumable(a.stack); err != nil {
				log.Warningf("Snapshots grow with each restore: %v", err)
			}
		}
		if err := holdMonotonic(a.timekeeper); err != nil {
			log.Warningf("The guest's monotonic clock jumps: %v", err)
		}
		if len(a.secret) == 0 {
			return
		}
		secret, err := sequenceSecret(a.protocol)
		if err != nil || len(secret) != len(a.secret) {
			log.Warningf("Connections within the guest may hang: %v, %d bytes", err, len(a.secret))
			return
		}
		copy(secret, a.secret)
	})
}

// sequenceSecret returns the key of TCP's initial sequence numbers, in place.
func sequenceSecret(protocol stack.TransportProtocol) ([]byte, error) {
	field, err := unexported.Field(protocol, "seqnumSecret")
	if err != nil {
		return nil, err
	}
	if field.Kind() != reflect.Array || field.Type().Elem().Kind() != reflect.Uint8 {
		return nil, fmt.Errorf("seqnumSecret is a %v", field.Type())
	}
	return field.Slice(0, field.Len()).Bytes(), nil
}

// holdMonotonic makes a loaded kernel's monotonic clock go on from where it was
// saved. gVisor moves it by how far the wall clock went since, but not if that
// went back; so it gets a save time in the far future. gVisor uses the
// time of the save for nothing else.
func holdMonotonic(t *kernel.Timekeeper) error {
	field, err := unexported.Field(t, "saveRealtime")
	if err != nil {
		return err
	}
	if field.Kind() != reflect.Int64 {
		return fmt.Errorf("saveRealtime is a %v", field.Type())
	}
	field.SetInt(math.MaxInt64)
	return nil
}
