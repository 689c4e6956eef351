// Package qmp asks a QEMU process by its machine protocol: one request at a time, over a Unix socket. It may import the standard library.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// maxMessage bounds an answer, in bytes. QEMU runs the guest's code, so it is not trusted.
const maxMessage = 1 << 20

// Client is one connection. Safe for concurrent use.
type Client struct {
	conn net.Conn
	turn chan struct{} // Holds a value while a request is made.

	// Of the holder of turn.
	lines *bufio.Scanner
	err   error // why it is of no use any more
}

// Error is QEMU's refusal of a request.
type Error struct {
	Command, Class, Description string
}

func (e *Error) Error() string { return fmt.Sprintf("qemu: %s: %.300q", e.Command, e.Description) }

type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Event    string          `json:"event"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// New takes a connection to a QEMU process, and closes it if that does not answer.
func New(ctx context.Context, conn net.Conn) (*Client, error) {
	c := newClient(conn)
	if err := c.Do(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func newClient(conn net.Conn) *Client {
	c := &Client{conn: conn, turn: make(chan struct{}, 1), lines: bufio.NewScanner(conn)}
	c.lines.Buffer(nil, maxMessage)
	return c
}

// Close ends the connection; a request that waits fails.
func (c *Client) Close() error { return c.conn.Close() }

// Do makes a request, and puts the answer into result unless that is nil. It waits for requests that are made already. After an error that is
// not an *Error the connection is of no use, for an answer that comes late would be taken for another one's; but for the end of ctx before
// the request is made.
func (c *Client) Do(ctx context.Context, command string, arguments, result any) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.err != nil {
		return c.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	answer, err := c.ask(ctx, command, arguments)
	if err == nil && answer.Error == nil && result != nil {
		err = json.Unmarshal(answer.Return, result)
	}
	if err != nil {
		c.err = fmt.Errorf("qemu: %s: %w", command, err)
		c.conn.Close()
		return c.err
	}
	if answer.Error != nil {
		return &Error{command, answer.Error.Class, answer.Error.Desc}
	}
	return nil
}

func (c *Client) ask(ctx context.Context, command string, arguments any) (message, error) {
	passed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(passed)
		_ = c.conn.SetDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-passed // Or it would end the next request.
			_ = c.conn.SetDeadline(time.Time{})
		}
	}()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(c.conn).Encode(request); err != nil {
		return message{}, ended(ctx, err)
	}
	for c.lines.Scan() {
		var m message
		if err := json.Unmarshal(c.lines.Bytes(), &m); err != nil {
			return message{}, err
		}
		if m.Return != nil || m.Error != nil {
			return m, nil
		}
	}
	err := c.lines.Err()
	if err == nil {
		err = errors.New("the process has ended")
	}
	return message{}, ended(ctx, err)
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
