//go:build linux

package likelinux

import (
	"errors"
	"time"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/safemem"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/ktime"
	"gvisor.dev/gvisor/pkg/sentry/socket"
	"gvisor.dev/gvisor/pkg/sentry/socket/control"
	"gvisor.dev/gvisor/pkg/sentry/socket/unix"
	guest "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
	"gvisor.dev/gvisor/pkg/usermem"
)

// A message of no bytes is a message. gVisor sends a message of a Unix socket from
// within the copying of its bytes, and where there are none it copies nothing and
// sends nothing, and drops the descriptors that it carries.

// packets calls fn with a Unix socket that keeps messages apart. Other files are
// none of its business.
func packets(t *kernel.Task, fd int32, fn func(*unix.Socket, *vfs.FileDescription)) {
	file := t.GetFile(fd)
	if file == nil {
		return
	}
	defer file.DecRef(t)
	s, ok := file.Impl().(*unix.Socket)
	if !ok {
		return
	}
	if _, kind, _ := s.Type(); kind == linux.SOCK_DGRAM || kind == linux.SOCK_SEQPACKET {
		fn(s, file)
	}
}

// sendNothing is sendto.
func sendNothing(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (n uintptr, c *kernel.SyscallControl, err error) {
		done := false
		if args[2].SizeT() == 0 {
			packets(t, args[0].Int(), func(s *unix.Socket, file *vfs.FileDescription) {
				done = true
				var to []byte
				if at := args[4].Pointer(); at != 0 {
					if to, err = guest.CaptureAddress(t, at, args[5].Uint()); err != nil {
						return
					}
				}
				err = sendEmpty(t, s, file, to, args[3].Int(), socket.ControlMessages{Unix: control.New(t, s)})
			})
		}
		if done {
			return 0, nil, err
		}
		return fn(t, no, args)
	}
}

const sendFlags = linux.MSG_DONTWAIT | linux.MSG_EOR | linux.MSG_MORE | linux.MSG_NOSIGNAL

// sendEmptyMessage is sendmsg.
func sendEmptyMessage(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (n uintptr, c *kernel.SyscallControl, err error) {
		done := false
		packets(t, args[0].Int(), func(s *unix.Socket, file *vfs.FileDescription) {
			var m guest.MessageHeader64
			if _, err := m.CopyIn(t, args[1].Pointer()); err != nil || args[2].Int()&^sendFlags != 0 || !isEmpty(t, &m) {
				return
			}
			done, err = true, sendHeader(t, s, file, &m, args[2].Int())
		})
		if done {
			return 0, nil, err
		}
		return fn(t, no, args)
	}
}

func isEmpty(t *kernel.Task, m *guest.MessageHeader64) bool {
	if m.IovLen > linux.UIO_MAXIOV {
		return false
	}
	src, err := t.IovecsIOSequence(hostarch.Addr(m.Iov), int(m.IovLen), usermem.IOOpts{})
	return err == nil && src.NumBytes() == 0
}

// maxControl is how long what a message carries may be.
const maxControl = 10 << 20

func sendHeader(t *kernel.Task, s *unix.Socket, file *vfs.FileDescription, m *guest.MessageHeader64, flags int32) (err error) {
	if m.ControlLen > maxControl {
		return linuxerr.ENOBUFS
	}
	data := make([]byte, m.ControlLen)
	if len(data) > 0 {
		if _, err := t.CopyInBytes(hostarch.Addr(m.Control), data); err != nil {
			return err
		}
	}
	var to []byte
	if m.NameLen != 0 {
		if to, err = guest.CaptureAddress(t, hostarch.Addr(m.Name), m.NameLen); err != nil {
			return err
		}
	}
	carries, err := control.Parse(t, s, data, t.Arch().Width())
	if err != nil {
		return err
	}
	if err := sendEmpty(t, s, file, to, flags, carries); err != nil {
		carries.Release(t)
		return err
	}
	return nil
}

func sendEmpty(t *kernel.Task, s *unix.Socket, file *vfs.FileDescription, to []byte, flags int32, carries socket.ControlMessages) error {
	wait := flags&linux.MSG_DONTWAIT == 0 && file.StatusFlags()&linux.SOCK_NONBLOCK == 0 && s.SendTimeout() >= 0
	start, limit := t.Kernel().MonotonicClock().Now(), time.Duration(s.SendTimeout())
	for {
		_, e := s.SendMsg(t, usermem.IOSequence{IO: noBytes{}}, to, int(flags|linux.MSG_DONTWAIT), false, ktime.Time{}, carries)
		err := e.ToError()
		if wait && errors.Is(err, linuxerr.ErrWouldBlock) && (limit == 0 || t.Kernel().MonotonicClock().Now().Sub(start) < limit) {
			// gVisor sends no notification of space for an empty message.
			if _, err = t.BlockWithTimeout(nil, true, roomWait); linuxerr.Equals(linuxerr.ETIMEDOUT, err) {
				continue
			}
		}
		return guest.HandleIOError(t, false, err, linuxerr.ERESTARTSYS, "sendmsg", file)
	}
}

const (
	// mostWaiting is how many messages may wait where one without bytes is sent:
	// gVisor bounds their bytes only. Linux takes some ten datagrams, or 300 packets.
	mostWaiting = 256
	// roomWait is how often a sender looks whether there are fewer.
	roomWait = 10 * time.Millisecond
)

// noBytes is memory from which nothing is copied, but sent.
type noBytes struct{ usermem.IO }

func (noBytes) CopyInTo(_ context.Context, _ hostarch.AddrRangeSeq, to safemem.Writer, _ usermem.IOOpts) (int64, error) {
	w, ok := to.(*unix.EndpointWriter)
	if !ok {
		return 0, nil
	}
	if full, err := manyWait(w); err != nil {
		log.Warningf("Messages without bytes have no bound: %v", err)
	} else if full {
		return 0, linuxerr.ErrWouldBlock
	}
	n, notify, err := w.Endpoint.SendMsg(w.Ctx, nil, w.Control, w.To)
	w.Notify = notify
	return n, err.ToError()
}

const (
	// multipleHeader is the size of a message of sendmmsg, and where in it the
	// number of bytes is that were sent.
	multipleHeader = 64
	sentAt         = 56
)

// sendMessages is sendmmsg, one by one.
func sendMessages(fn kernel.SyscallFn) kernel.SyscallFn {
	one := sendEmptyMessage(guest.SendMsg)
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (sent uintptr, c *kernel.SyscallControl, err error) {
		done := false
		packets(t, args[0].Int(), func(*unix.Socket, *vfs.FileDescription) { done = true })
		if !done {
			return fn(t, no, args)
		}
		for ; sent < uintptr(min(args[2].Uint(), linux.UIO_MAXIOV)); sent++ {
			m := args[1].Value + sent*multipleHeader
			var n uintptr
			if n, _, err = one(t, no, arch.SyscallArguments{args[0], {Value: m}, args[3]}); err == nil {
				_, err = t.CopyOutBytes(hostarch.Addr(m+sentAt), hostarch.ByteOrder.AppendUint32(nil, uint32(n)))
			}
			if err != nil {
				break
			}
		}
		if sent > 0 {
			err = nil
		}
		return sent, nil, err
	}
}

// writeNothing is writev, by which no message of no bytes can be sent, on Linux.
func writeNothing(fn kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, no uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		nothing := false
		packets(t, args[0].Int(), func(*unix.Socket, *vfs.FileDescription) {
			src, err := t.IovecsIOSequence(args[1].Pointer(), int(args[2].Int()), usermem.IOOpts{})
			nothing = err == nil && src.NumBytes() == 0
		})
		if nothing {
			return 0, nil, nil
		}
		return fn(t, no, args)
	}
}
