// Package link is how the host talks with the first process of a microVM over one serial port, which has no beginning and no end:
// either side can stop, be restored or begin anew in the middle of a line. A line is a call with a nonce, or its answer. The host repeats a
// call until it has the answer of its nonce, and the guest does each nonce once, so that a line that is lost or broken does no harm. It may
// import the standard library.
package link

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Port is the name of the serial port in the guest.
const Port = "rundlet.link"

// VsockWord in the kernel's command line says that the host talks with the guest by vsock, at VsockPort, and that the console is the first
// serial port.
const (
	VsockWord = "rundlet.link=vsock"
	VsockPort = 1024
)

// ProbeWord in the kernel's command line says that a guest only has to show that it boots: it writes ProbeAnswer to its console, and ends.
const (
	ProbeWord   = "rundlet.probe"
	ProbeAnswer = "rundlet: the guest has booted"
)

// MaxLine bounds a line, in bytes. An environment has to fit.
const MaxLine = 256 << 10

// Network is the guest's one network card. Addresses are in the form "10.0.0.2/30".
type Network struct {
	MAC       string   `json:"mac"`
	MTU       int      `json:"mtu,omitempty"`
	Addresses []string `json:"addresses"`
	Gateway   string   `json:"gateway,omitempty"`
	// Gateway6 is the gateway of IPv6; empty if no address is of IPv6.
	Gateway6 string `json:"gateway6,omitempty"`
}

// Wake is what a guest learns each time it runs again, before any of its programs does.
type Wake struct {
	// Time is the time of the host.
	Time time.Time `json:"time"`
	// Seed is added to the entropy of the guest's kernel.
	Seed     []byte   `json:"seed"`
	Hostname string   `json:"hostname,omitempty"`
	Network  *Network `json:"network,omitempty"`
}

// Boot is what a guest that boots learns: its first program.
type Boot struct {
	Wake
	Args         []string `json:"args"`
	Env          []string `json:"env,omitempty"`
	Cwd          string   `json:"cwd,omitempty"`
	MaxProcesses int      `json:"max_processes,omitempty"`
	// ReadOnly says that the machine has no disk.
	ReadOnly bool `json:"read_only,omitempty"`
	// SetUID are absolute paths of files of root that become set-uid, where there are such files.
	SetUID []string `json:"set_uid,omitempty"`
}

// Call is from the host. One of Boot, Wake and Freeze is set, or the guest refuses it. Freeze stops all programs of the guest until the next Wake; with Sync, what they
// have written is on the disk then.
type Call struct {
	Nonce  string `json:"nonce"`
	Boot   *Boot  `json:"boot,omitempty"`
	Wake   *Wake  `json:"wake,omitempty"`
	Freeze bool   `json:"freeze,omitempty"`
	Sync   bool   `json:"sync,omitempty"`
}

// Answer is from the guest, to the call with the nonce. One without a nonce says that the first program has ended.
type Answer struct {
	Nonce string `json:"nonce,omitempty"`
	// Error is empty if the call succeeded.
	Error string `json:"error,omitempty"`
	// Exit says how the first program ended: "exited: 1", "signal: killed".
	Exit string `json:"exit,omitempty"`
}

// Client is the host's end. Safe for concurrent use: one call is made at a time, for a repeat of an earlier one would be done again.
type Client struct {
	conn net.Conn
	exit func(string)
	done chan struct{}
	turn chan struct{} // Holds a value while a call is made.

	mu      sync.Mutex
	waiting map[string]chan Answer
	err     error
}

// NewClient takes a connection, which Close ends. exit is called, by another goroutine, when the guest says that its first program has ended; it
// can be called more than once. The guest is not trusted.
// What it says is valid UTF-8 of at most maxExit bytes.
func NewClient(conn net.Conn, exit func(string)) *Client {
	c := &Client{conn: conn, exit: exit, done: make(chan struct{}), turn: make(chan struct{}, 1), waiting: map[string]chan Answer{}}
	go c.read()
	return c
}

// Close ends the connection, and returns when nothing of it runs.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

func (c *Client) read() {
	defer close(c.done)
	lines := bufio.NewReaderSize(c.conn, 4<<10)
	for {
		line, err := ReadLine(lines)
		if err != nil {
			c.mu.Lock()
			c.err = err
			for _, waiting := range c.waiting {
				close(waiting)
			}
			c.waiting = nil
			c.mu.Unlock()
			return
		}
		var a Answer
		if json.Unmarshal(line, &a) != nil {
			continue // The rest of a line that was broken off.
		}
		if a.Nonce == "" {
			if a.Exit != "" {
				c.exit(strings.ToValidUTF8(a.Exit[:min(len(a.Exit), maxExit)], ""))
			}
			continue
		}
		c.mu.Lock()
		if waiting := c.waiting[a.Nonce]; waiting != nil {
			delete(c.waiting, a.Nonce)
			waiting <- a
		}
		c.mu.Unlock()
	}
}

// ReadLine returns the next line. One that is too long is left out. The result is valid until the next call.
func ReadLine(r *bufio.Reader) ([]byte, error) {
	for {
		line, err := r.ReadSlice('\n')
		if err == nil && len(line) <= MaxLine {
			return line, nil
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		long := append([]byte{}, line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = r.ReadSlice('\n')
			if len(long) <= MaxLine {
				long = append(long, line...)
			}
		}
		if err != nil {
			return nil, err
		}
		if len(long) <= MaxLine {
			return long, nil
		}
	}
}

// A call is repeated after a time that doubles from the first to the second of these.
const (
	repeatFirst = 10 * time.Millisecond
	repeatLast  = 500 * time.Millisecond
)

// maxExit bounds what a guest says of its end, in bytes.
const maxExit = 200

// RefusedError is the guest's answer that it could not do what it was asked for. Its text is the guest's, and bounded.
type RefusedError string

func (e RefusedError) Error() string { return fmt.Sprintf("the guest: %.200q", string(e)) }

// Call asks the guest, and returns when it has answered: a RefusedError if it failed. A call without a nonce gets one; the guest does one that had been
// made by another connection only once. It waits for calls that are made already.
func (c *Client) Call(ctx context.Context, call Call) error {
	call.Nonce = cmp.Or(call.Nonce, rand.Text())
	line, err := json.Marshal(call)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if len(line) > MaxLine {
		return fmt.Errorf("a call takes %d bytes, more than %d", len(line), MaxLine)
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	answer := make(chan Answer, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return fmt.Errorf("link to the guest: %w", c.err)
	}
	c.waiting[call.Nonce] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, call.Nonce)
		c.mu.Unlock()
	}()
	for pause := repeatFirst; ; pause = min(2*pause, repeatLast) {
		if err := c.write(ctx, line); err != nil {
			return fmt.Errorf("link to the guest: %w", err)
		}
		timer := time.NewTimer(pause)
		select {
		case a, ok := <-answer:
			timer.Stop()
			switch {
			case !ok:
				return errors.New("link to the guest: it has ended")
			case a.Error != "":
				return RefusedError(a.Error)
			}
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// write begins with the end of a line, for one before may have been broken off. It gives up when ctx ends: a guest can read nothing.
func (c *Client) write(ctx context.Context, line []byte) error {
	passed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(passed)
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-passed // Or it would end the next write.
			_ = c.conn.SetWriteDeadline(time.Time{})
		}
	}()
	_, err := c.conn.Write(append([]byte{'\n'}, line...))
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
