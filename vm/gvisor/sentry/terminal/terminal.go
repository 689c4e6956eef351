//go:build linux

// Package terminal mends what gVisor's terminals do differently from Linux's.
//
// It may import gVisor, calls and unexported; package likelinux imports it.
package terminal

import (
	"fmt"
	"reflect"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
	"gvisor.dev/gvisor/pkg/sync"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// The master of a terminal whose other side is not open yet waits for it.
// gVisor counts the openers of the other side, and treats none as a hang-up. So the
// count starts high, until the first one comes. It is saved with the terminal.

const terminalMaster = "*devpts.masterFileDescription"

// unopened is added to the count.
const unopened = 1 << 30

// Note is open, openat and openat2.
func Note(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		fd, control, err := fn(t, no, args)
		if err == nil {
			note(t, int32(fd))
		}
		return fd, control, err
	}
}

// NotePeer is ioctl.
func NotePeer(fn kernel.SyscallFn) kernel.SyscallFn {
	opens := Note(fn)
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if args[1].Uint() == linux.TIOCGPTPEER {
			return opens(t, no, args)
		}
		return fn(t, no, args)
	}
}

func note(t *kernel.Task, fd int32) {
	file := t.GetFile(fd)
	if file == nil {
		return
	}
	defer file.DecRef(t)
	if file.Mount().Filesystem().FilesystemType().Name() != "devpts" {
		return
	}
	if err := noteSide(file.Impl()); err != nil {
		log.Warningf("A terminal may be taken for hung up: %v", err)
	}
}

func noteSide(side vfs.FileDescriptionImpl) error {
	switch fmt.Sprintf("%T", side) {
	case terminalMaster:
		return countReplicas(side, func(n int64) int64 {
			if n == 0 {
				n = unopened
			}
			return n
		}, "t", "ld")
	case "*devpts.replicaFileDescription":
		return countReplicas(side, func(n int64) int64 {
			if n >= unopened {
				n -= unopened
			}
			return n
		}, "inode", "t", "ld")
	}
	return nil // A directory.
}

// countReplicas changes the count of a side's terminal, which is at the end of
// the path of fields.
func countReplicas(side any, change func(int64) int64, path ...string) error {
	line, lock, err := discipline(side, path...)
	if err != nil {
		return err
	}
	count, err := unexported.Field(line, "numReplicas")
	if err != nil {
		return err
	}
	if count.Kind() != reflect.Int {
		return fmt.Errorf("numReplicas is a %v", count.Type())
	}
	lock.Lock()
	defer lock.Unlock()
	count.SetInt(change(count.Int()))
	return nil
}

// discipline follows a path of fields to a terminal's line discipline. With its
// lock held for writing, its queues are unused.
func discipline(side any, path ...string) (line any, lock *sync.RWMutex, err error) {
	for _, name := range path {
		field, err := unexported.Field(side, name)
		if err != nil {
			return nil, nil, err
		}
		side = field.Interface()
	}
	mu, err := unexported.Field(side, "termiosMu")
	if err != nil {
		return nil, nil, err
	}
	lock, ok := mu.Addr().Interface().(*sync.RWMutex)
	if !ok {
		return nil, nil, fmt.Errorf("termiosMu is a %v", mu.Type())
	}
	return side, lock, nil
}
