//go:build linux

package likelinux

import (
	"fmt"
	"reflect"
	"sync"

	"gvisor.dev/gvisor/pkg/sentry/socket/unix"
	"gvisor.dev/gvisor/pkg/sentry/socket/unix/transport"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// manyWait reports whether mostWaiting messages wait where w sends to. Of a socket
// that has no peer, or one outside the guest, it knows nothing: sending says the rest.
func manyWait(w *unix.EndpointWriter) (bool, error) {
	if w.To != nil {
		peer, err := w.To.UnidirectionalConnect(w.Ctx)
		if err != nil {
			return false, nil
		}
		defer peer.Release(w.Ctx)
		return queueFull(peer)
	}
	mutex, err := unexported.Field(w.Endpoint, "endpointMutex")
	if err != nil {
		return false, err
	}
	lock, ok := mutex.Addr().Interface().(sync.Locker)
	if !ok {
		return false, fmt.Errorf("endpointMutex is a %v", mutex.Type())
	}
	field, err := unexported.Field(w.Endpoint, "peer")
	if err != nil {
		return false, err
	}
	lock.Lock()
	defer lock.Unlock()
	peer, ok := field.Interface().(transport.Sender)
	if !ok {
		return false, nil
	}
	return queueFull(peer)
}

func queueFull(peer transport.Sender) (bool, error) {
	field, err := unexported.Field(peer, "writeQueue")
	if err != nil {
		return false, nil // Of the host.
	}
	queue := field.Interface()
	mutex, err := unexported.Field(queue, "mu")
	if err != nil {
		return false, err
	}
	lock, ok := mutex.Addr().Interface().(sync.Locker)
	if !ok {
		return false, fmt.Errorf("mu is a %v", mutex.Type())
	}
	list, err := unexported.Field(queue, "dataList")
	if err != nil {
		return false, err
	}
	lock.Lock()
	defer lock.Unlock()
	message := list.FieldByName("head")
	for n := 0; ; n++ {
		switch {
		case message.Kind() != reflect.Pointer:
			return false, fmt.Errorf("no list in a %v", list.Type())
		case message.IsNil():
			return false, nil
		case n == mostWaiting-1:
			return true, nil
		}
		message = message.Elem().FieldByName("next")
	}
}
