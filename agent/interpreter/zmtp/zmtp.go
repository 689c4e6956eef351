// Package zmtp is a small client of ZeroMQ's wire protocol, ZMTP 3.0 with the NULL mechanism:
// enough to talk to the sockets of a Jupyter kernel. Unlike a whole library, it bounds what it
// reads, since the program at the other end runs the code of users. It imports the standard
// library only.
package zmtp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Types of sockets.
const (
	Dealer = "DEALER"
	Sub    = "SUB"
)

const (
	flagMore, flagLong, flagCommand = 1, 2, 4

	// MaxFrame bounds a frame in bytes: the largest result that reaches a client.
	MaxFrame = 32 << 20
	// maxFrames bounds the frames of a message. Jupyter's have six, and more with binary data of widgets.
	maxFrames = 256
	// maxCommand bounds a command in bytes.
	maxCommand = 4 << 10
	// handshakeTimeout is for the greeting, and writeTimeout for a message that the peer does not read.
	handshakeTimeout = 10 * time.Second
	writeTimeout     = 60 * time.Second
)

// Conn is a connection to one socket. Send and Receive may be called at the same time, each by one goroutine.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex // Of writes.
}

// Message is a message of several frames.
type Message struct {
	// Frames has nil for a frame that was too large.
	Frames [][]byte
	// Dropped is the sum of the sizes of those frames, in bytes.
	Dropped int64
}

// New makes the handshake on conn, as a socket of the given type, and owns conn from then on: it
// is closed if the handshake fails.
func New(conn net.Conn, socketType string) (*Conn, error) {
	c := &Conn{conn: conn, in: newReader(conn)}
	if err := c.handshake(socketType); err != nil {
		conn.Close()
		return nil, fmt.Errorf("zmtp handshake: %w", err)
	}
	return c, nil
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 64<<10) }

func (c *Conn) handshake(socketType string) error {
	if err := c.conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	var greeting [64]byte
	greeting[0], greeting[9], greeting[10] = 0xff, 0x7f, 3
	copy(greeting[12:], "NULL")
	if _, err := c.conn.Write(greeting[:]); err != nil {
		return err
	}
	var theirs [64]byte
	if _, err := io.ReadFull(c.in, theirs[:]); err != nil {
		return err
	}
	if theirs[0] != 0xff || theirs[9]&1 == 0 || theirs[10] < 3 || string(theirs[12:17]) != "NULL\x00" {
		return errors.New("the peer does not speak ZMTP 3 with the mechanism NULL")
	}
	if err := c.frame(flagCommand, ready(socketType)); err != nil {
		return err
	}
	flags, body, _, err := c.read(maxCommand)
	if err != nil {
		return err
	}
	if flags&flagCommand == 0 || len(body) < 6 || string(body[:6]) != "\x05READY" {
		return errors.New("the peer sent something else than READY")
	}
	return c.conn.SetDeadline(time.Time{})
}

// ready is the command that tells the type of a socket.
func ready(socketType string) []byte {
	body := []byte("\x05READY\x0bSocket-Type")
	body = binary.BigEndian.AppendUint32(body, uint32(len(socketType)))
	return append(body, socketType...)
}

// Subscribe asks a publisher for the messages that begin with topic.
func (c *Conn) Subscribe(topic string) error { return c.Send(append([]byte{1}, topic...)) }

// Send sends a message. After an error the connection is of no use.
func (c *Conn) Send(frames ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	for i, f := range frames {
		flags := byte(0)
		if i < len(frames)-1 {
			flags = flagMore
		}
		if err := c.frame(flags, f); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) frame(flags byte, body []byte) error {
	head := []byte{flags, byte(len(body))}
	if len(body) > 255 {
		head = binary.BigEndian.AppendUint64([]byte{flags | flagLong}, uint64(len(body)))
	}
	_, err := c.conn.Write(slices.Concat(head, body))
	return err
}

// Receive waits for a message. After an error the connection is of no use. Frames larger than
// MaxFrame are read and dropped.
func (c *Conn) Receive() (Message, error) {
	var m Message
	budget := int64(2 * MaxFrame) // All frames together.
	for {
		flags, body, dropped, err := c.read(min(MaxFrame, budget))
		if err != nil {
			return Message{}, err
		}
		if flags&flagCommand != 0 {
			continue // None of ZMTP 3.0 needs an answer.
		}
		if len(m.Frames) == maxFrames {
			return Message{}, errors.New("zmtp: a message has too many frames")
		}
		budget -= int64(len(body))
		m.Frames, m.Dropped = append(m.Frames, body), m.Dropped+dropped
		if flags&flagMore == 0 {
			return m, nil
		}
	}
}

// read reads a frame. One that is larger than limit is nil, and dropped is its size.
func (c *Conn) read(limit int64) (flags byte, body []byte, dropped int64, err error) {
	if flags, err = c.in.ReadByte(); err != nil {
		return 0, nil, 0, err
	}
	var size uint64
	if flags&flagLong != 0 {
		var long [8]byte
		if _, err = io.ReadFull(c.in, long[:]); err != nil {
			return 0, nil, 0, err
		}
		size = binary.BigEndian.Uint64(long[:])
	} else {
		short, err := c.in.ReadByte()
		if err != nil {
			return 0, nil, 0, err
		}
		size = uint64(short)
	}
	switch {
	case flags&^(flagMore|flagLong|flagCommand) != 0 || size > 1<<62:
		return 0, nil, 0, errors.New("zmtp: invalid frame")
	case size > uint64(limit) && flags&flagCommand != 0:
		return 0, nil, 0, errors.New("zmtp: a command is too large")
	case size > uint64(limit):
		_, err = io.CopyN(io.Discard, c.in, int64(size))
		return flags, nil, int64(size), err
	}
	body = make([]byte, size)
	_, err = io.ReadFull(c.in, body)
	return flags, body, 0, err
}

// Close closes the connection; calls that wait return with an error.
func (c *Conn) Close() error { return c.conn.Close() }
