//go:build linux

package terminal

import (
	"bytes"
	"fmt"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
	"gvisor.dev/gvisor/pkg/sentry/vfs"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/unexported"
)

// A key that interrupts acts when it is typed. gVisor looks at a line that was
// typed ahead first, and so does not see the key until somebody has read that.

// mostKeys is how many bytes of one write are searched for such keys. More than
// that is not typed.
const mostKeys = 4096

// TypeKeys is write, and TypeVector writev.
func TypeKeys(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		n := args[2].SizeT()
		if n == 0 || n > mostKeys || !isMaster(t, args[0].Int()) {
			return fn(t, no, args)
		}
		start := args[1].Pointer()
		return typeBuffers(t, no, args, fn, fn, []hostarch.AddrRange{{Start: start, End: start + hostarch.Addr(n)}})
	}
}

func TypeVector(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if !isMaster(t, args[0].Int()) {
			return fn(t, no, args)
		}
		if buffers, n := calls.Vector(t, args[1], args[2]); n > 0 && n <= mostKeys {
			return typeBuffers(t, no, args, fn, guest.Write, buffers)
		}
		return fn(t, no, args)
	}
}

func isMaster(t *kernel.Task, fd int32) bool {
	file := t.GetFile(fd)
	if file == nil {
		return false
	}
	defer file.DecRef(t)
	return file.Mount().Filesystem().FilesystemType().Name() == "devpts" && fmt.Sprintf("%T", file.Impl()) == terminalMaster
}

// typeBuffers writes buffers up to each key that interrupts, and has that act.
// Without such a key it is the call itself.
func typeBuffers(t *kernel.Task, no uintptr, args arch.SyscallArguments, all, write kernel.SyscallFn, buffers []hostarch.AddrRange) (uintptr, *kernel.SyscallControl, error) {
	file := t.GetFile(args[0].Int())
	if file == nil {
		return all(t, no, args)
	}
	defer file.DecRef(t)
	keys, err := keysOf(file)
	if err != nil {
		log.Warningf("Keys may not interrupt: %v", err)
	}
	texts, found := textsOf(t, buffers, keys)
	if !found {
		return all(t, no, args)
	}
	var done uintptr
	for i, text := range texts {
		for at := 0; at < len(text); {
			if interrupt(t, file, text[at]) {
				at, done = at+1, done+1
				continue
			}
			n := upToKey(text[at:], keys)
			wrote, _, err := write(t, no, arch.SyscallArguments{args[0], {Value: uintptr(buffers[i].Start) + uintptr(at)}, {Value: uintptr(n)}}) //nolint:gosec // There is a buffer for each text.
			if at, done = at+int(wrote), done+wrote; done > 0 && err != nil {
				return done, nil, nil
			}
			if err != nil || int(wrote) < n {
				return done, nil, err
			}
		}
	}
	return done, nil, nil
}

// textsOf reads buffers and reports whether any of the keys is in them.
func textsOf(t *kernel.Task, buffers []hostarch.AddrRange, keys string) (texts [][]byte, found bool) {
	for _, b := range buffers {
		text := make([]byte, b.Length())
		if _, err := t.CopyInBytes(b.Start, text); err != nil {
			return nil, false // The call will say so.
		}
		texts, found = append(texts, text), found || bytes.ContainsAny(text, keys)
	}
	return texts, found
}

// upToKey is how many bytes go before the next key. The first is one if it had
// nothing to pass.
func upToKey(text []byte, keys string) int {
	if next := bytes.IndexAny(text[1:], keys); next >= 0 {
		return 1 + next
	}
	return len(text)
}

var signalKeys = map[int]linux.Signal{linux.VINTR: linux.SIGINT, linux.VQUIT: linux.SIGQUIT, linux.VSUSP: linux.SIGTSTP}

// keysOf returns the keys that interrupt, if any does.
func keysOf(master *vfs.FileDescription) (keys string, err error) {
	line, lock, err := discipline(master.Impl(), "t", "ld")
	if err != nil {
		return "", err
	}
	settings, err := unexported.Field(line, "termios")
	if err != nil {
		return "", err
	}
	lock.RLock()
	defer lock.RUnlock()
	termios, ok := settings.Addr().Interface().(*linux.KernelTermios)
	if !ok {
		return "", fmt.Errorf("termios is a %v", settings.Type())
	}
	if !termios.LEnabled(linux.ISIG) {
		return "", nil
	}
	for key := range signalKeys {
		if c := termios.ControlCharacters[key]; c != 0 && c < 0x80 {
			keys += string(rune(c))
		}
	}
	return keys, nil
}

// interrupt has a key act and reports that it did. Without anything typed ahead
// it leaves the key to gVisor.
func interrupt(t *kernel.Task, master *vfs.FileDescription, key byte) bool {
	signal, flush, err := signalOf(master, key)
	if err != nil {
		log.Warningf("A key does not interrupt: %v", err)
	}
	if signal == 0 {
		return false
	}
	terminal, err := unexported.Field(master.Impl(), "t")
	if err != nil {
		return false
	}
	tty, err := unexported.Field(terminal.Interface(), "replicaKTTY")
	if err != nil {
		return false
	}
	if tty, ok := tty.Interface().(*kernel.TTY); ok {
		tty.SignalForegroundProcessGroup(kernel.SignalInfoPriv(signal))
	}
	if flush {
		_, err := master.Ioctl(t, t.MemoryManager(), 0, arch.SyscallArguments{{}, {Value: linux.TCFLSH}, {Value: linux.TCOFLUSH}})
		if err != nil {
			log.Warningf("What was typed ahead stays: %v", err)
		}
	}
	return true
}

// signalOf returns the signal of a key that has something to pass, and whether
// that is thrown away.
func signalOf(master *vfs.FileDescription, key byte) (signal linux.Signal, flush bool, err error) {
	line, lock, err := discipline(master.Impl(), "t", "ld")
	if err != nil {
		return 0, false, err
	}
	settings, err := unexported.Field(line, "termios")
	if err != nil {
		return 0, false, err
	}
	input, err := unexported.Field(line, "inQueue")
	if err != nil {
		return 0, false, err
	}
	ahead, err := unexported.Field(input.Addr().Interface(), "readBuf")
	if err != nil {
		return 0, false, err
	}
	waiting, err := unexported.Field(input.Addr().Interface(), "waitBufLen")
	if err != nil {
		return 0, false, err
	}
	lock.Lock()
	defer lock.Unlock()
	termios, ok := settings.Addr().Interface().(*linux.KernelTermios)
	if !ok || ahead.Len() == 0 && waiting.Uint() == 0 || !termios.LEnabled(linux.ISIG) {
		return 0, false, nil
	}
	for index, signal := range signalKeys {
		if termios.ControlCharacters[index] == key {
			return signal, !termios.LEnabled(linux.NOFLSH), nil
		}
	}
	return 0, false, nil
}
