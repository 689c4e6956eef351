// Package qmp asks a QEMU process by its machine protocol: one request at a time, over a Unix socket. It may import the standard library.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// maxMessage bounds an answer, in bytes. QEMU runs the guest's code, so it is not trusted.
const maxMessage = 1 << 20

// Client is one connection. Safe for concurrent use.
type Client struct {
	mu    sync.Mutex
	conn  net.Conn
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

// Dial connects to the socket of a QEMU process.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, lines: bufio.NewScanner(conn)}
	c.lines.Buffer(nil, maxMessage)
	if err := c.Do(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection; a request that waits fails.
func (c *Client) Close() error { return c.conn.Close() }

// Do makes a request, and puts the answer into result unless that is nil. After an error that is no *Error the connection is of no use:
// an answer that comes late would be taken for another one's.
func (c *Client) Do(ctx context.Context, command string, arguments, result any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	answer, err := c.ask(ctx, command, arguments)
	if err != nil {
		c.err = fmt.Errorf("qemu: %s: %w", command, err)
		c.conn.Close()
		return c.err
	}
	if answer.Error != nil {
		return &Error{command, answer.Error.Class, answer.Error.Desc}
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Return, result)
}

func (c *Client) ask(ctx context.Context, command string, arguments any) (message, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
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
