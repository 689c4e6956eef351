package carry

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A piece is what is copied at a time. Connections have one for each direction only while they copy, or wait for a
// side that does not read.
const smallPiece, largePiece = 16 << 10, 128 << 10

var (
	small = sync.Pool{New: func() any { b := make([]byte, smallPiece); return &b }}
	large = sync.Pool{New: func() any { b := make([]byte, largePiece); return &b }}
)

// Connection joins a client, whose connection ends in the stack, with a server that the host is connected to.
type Connection struct {
	Client tcpip.Endpoint
	Events *waiter.Queue // Of Client.
	Server *net.TCPConn
	// Size in bytes bounds a piece, which has 16 KiB at least.
	Size int
}

// pieces has the pieces of the connection.
func (c *Connection) pieces() *sync.Pool {
	if c.Size >= largePiece {
		return &large
	}
	return &small
}

// Carry copies until both directions have ended, each separately. An error of either, or the end of ctx, breaks both off. It closes both.
func (c *Connection) Carry(ctx context.Context) {
	var once sync.Once
	fail := func() {
		once.Do(func() {
			Abort(c.Server)
			c.Client.Abort()
		})
	}
	defer context.AfterFunc(ctx, fail)()
	downloaded := make(chan struct{})
	var up sync.WaitGroup
	up.Go(func() {
		if c.upload(downloaded) != nil {
			fail()
		}
	})
	if c.download() != nil {
		fail()
	}
	close(downloaded)
	up.Wait()
	c.Server.Close()
	c.Client.Close()
}

// Linger waits after Carry until the client has acknowledged the end, for which its data is kept. After a time it gives up.
func (c *Connection) Linger(most time.Duration) {
	entry, gone := waiter.NewChannelEntry(waiter.EventHUp)
	c.Events.EventRegister(&entry)
	defer c.Events.EventUnregister(&entry)
	limit := time.NewTimer(most)
	defer limit.Stop()
	for {
		switch tcp.EndpointState(c.Client.State()) {
		case tcp.StateClose, tcp.StateError:
			return
		}
		select {
		case <-gone:
		case <-limit.C:
			c.Client.Abort()
			return
		}
	}
}

// upload copies from the client to the server. Until the other direction has ended it notices a client that is gone: one
// that has ended its own and is reset then would have its server wait for the next byte.
func (c *Connection) upload(downloaded <-chan struct{}) error {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	c.Events.EventRegister(&entry)
	defer c.Events.EventUnregister(&entry)
	for {
		err := c.uploadPiece()
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			<-ready
		case *tcpip.ErrClosedForReceive:
			if err := c.Server.CloseWrite(); err != nil {
				return err
			}
			for tcp.EndpointState(c.Client.State()) != tcp.StateError {
				select {
				case <-downloaded:
					return nil
				case <-ready:
				}
			}
			return errors.New("the client is gone")
		default:
			return errors.New(err.String())
		}
	}
}

func (c *Connection) uploadPiece() tcpip.Error {
	pieces := c.pieces()
	piece := pieces.Get().(*[]byte)
	defer pieces.Put(piece)
	w := tcpip.SliceWriter(*piece)
	got, err := c.Client.Read(&w, tcpip.ReadOptions{})
	if err != nil {
		return err
	}
	if _, err := c.Server.Write((*piece)[:got.Count]); err != nil {
		return &tcpip.ErrConnectionReset{}
	}
	return nil
}

// download copies from the server to the client.
func (c *Connection) download() error {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	c.Events.EventRegister(&entry)
	defer c.Events.EventUnregister(&entry)
	raw, err := c.Server.SyscallConn()
	if err != nil {
		return err
	}
	pieces := c.pieces()
	for {
		var piece *[]byte
		var n int
		var fault error
		err := raw.Read(func(fd uintptr) bool {
			piece = pieces.Get().(*[]byte)
			for {
				if n, fault = unix.Read(int(fd), *piece); !errors.Is(fault, unix.EINTR) {
					break
				}
			}
			if !errors.Is(fault, unix.EAGAIN) {
				return true
			}
			pieces.Put(piece)
			piece = nil
			return false
		})
		if piece != nil {
			if err == nil && fault == nil && n > 0 {
				fault = c.write((*piece)[:n], ready)
			}
			pieces.Put(piece)
		}
		if err := errors.Join(err, fault); err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	if err := c.Client.Shutdown(tcpip.ShutdownWrite); err != nil {
		return errors.New(err.String())
	}
	return nil
}

// write sends all of b to the client.
func (c *Connection) write(b []byte, ready <-chan struct{}) error {
	var r bytes.Reader
	for len(b) > 0 {
		r.Reset(b)
		n, err := c.Client.Write(&r, tcpip.WriteOptions{})
		b = b[n:]
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			<-ready
		default:
			return errors.New(err.String())
		}
	}
	return nil
}

// Abort closes a connection with a reset.
func Abort(server *net.TCPConn) {
	_ = server.SetLinger(0)
	server.Close()
}
