package afterload

import (
	"math"
	"testing"

	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// TestGVisorHasTheFieldsThatALoadMends fails with a gVisor in which the fields
// have another name or type: what is done about a load must be thought over.
func TestGVisorHasTheFieldsThatALoadMends(t *testing.T) {
	var tk kernel.Timekeeper
	if err := holdMonotonic(&tk); err != nil {
		t.Error(err)
	} else if field, _ := unexported.Field(&tk, "saveRealtime"); field.Int() != math.MaxInt64 {
		t.Errorf("the save was at %d", field.Int())
	}
	newStack := func() *stack.Stack {
		return stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		})
	}
	a, b := newStack(), newStack()
	defer a.Destroy()
	defer b.Destroy()
	secretA, errA := sequenceSecret(a.TransportProtocolInstance(tcp.ProtocolNumber))
	secretB, errB := sequenceSecret(b.TransportProtocolInstance(tcp.ProtocolNumber))
	if errA != nil || errB != nil || len(secretA) != 16 || string(secretA) == string(secretB) {
		t.Errorf("secrets %x and %x, %v, %v", secretA, secretB, errA, errB)
	}
	if _, err := endpointStack(&tcp.Endpoint{}); err != nil {
		t.Error(err)
	}
	if err := forgetResumable(a); err != nil {
		t.Error(err)
	}
	for _, absent := range []any{nil, (*kernel.Timekeeper)(nil), 1} {
		if _, err := unexported.Field(absent, "saveRealtime"); err == nil {
			t.Errorf("%T has a field", absent)
		}
	}
}
