//go:build linux

package likelinux

import (
	"bytes"
	goContext "context"
	"fmt"
	"reflect"

	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/kernfs"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
	"gvisor.dev/gvisor/pkg/state"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// listPorts is open, openat and openat2: in an open /proc/net/tcp and tcp6, TCP sockets that neither listen nor have a connection are
// left out, as on Linux, where such a socket is in no table. gVisor lists all sockets, and a program that waits for a port
// by ss takes one that has an address for one that listens.
func listPorts(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		fd, control, err := fn(t, no, args)
		if err == nil {
			listPortsOf(t, int32(fd))
		}
		return fd, control, err
	}
}

func listPortsOf(t *kernel.Task, fd int32) {
	file := t.GetFile(fd)
	if file == nil {
		return
	}
	defer file.DecRef(t)
	table, ok := file.Impl().(*kernfs.DynamicBytesFD)
	if !ok {
		return
	}
	if err := filter(table); err != nil {
		log.Warningf("Ports without a listener may be listed: %v", err)
	}
}

// filter changes the source of an open file if that is a table of TCP sockets. The file was opened by the calling task, and
// is not read yet.
func filter(table *kernfs.DynamicBytesFD) error {
	source, err := unexported.Field(&table.DynamicBytesFileDescriptionImpl, "data")
	if err != nil {
		return err
	}
	sockets, ok := source.Interface().(vfs.DynamicBytesSource)
	if !ok {
		return fmt.Errorf("the source of a file in /proc is a %s", source.Type())
	}
	switch fmt.Sprintf("%T", sockets) {
	case "*proc.netTCPData", "*proc.netTCP6Data":
		source.Set(reflect.ValueOf(&connected{sockets}))
	}
	return nil
}

// connected is a table of TCP sockets without those that are in no table of Linux. A guest may be saved while the file is open, so it
// can be saved.
type connected struct{ all vfs.DynamicBytesSource }

// Generate implements vfs.DynamicBytesSource.
func (c *connected) Generate(ctx context.Context, buf *bytes.Buffer) error {
	var all bytes.Buffer
	if err := c.all.Generate(ctx, &all); err != nil {
		return err
	}
	for line := range bytes.Lines(all.Bytes()) {
		if !closed(line) {
			buf.Write(line)
		}
	}
	return nil
}

// closed reports whether a line is that of a socket in the state TCP_CLOSE (7), the fourth field.
func closed(line []byte) bool {
	fields := bytes.Fields(line)
	return len(fields) > 3 && string(fields[3]) == "07"
}

func init() { state.Register((*connected)(nil)) }

// StateTypeName implements state.Type. It is in snapshots, and does not change.
func (*connected) StateTypeName() string { return "rundlet/vm/gvisor.connected" }

// StateFields implements state.Type.
func (*connected) StateFields() []string { return []string{"all"} }

// StateSave implements state.SaverLoader.
func (c *connected) StateSave(sink state.Sink) { sink.Save(0, &c.all) }

// StateLoad implements state.SaverLoader.
func (c *connected) StateLoad(_ goContext.Context, source state.Source) { source.Load(0, &c.all) }
