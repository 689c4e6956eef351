// Package api asks a Firecracker process by its API: HTTP over a Unix socket, one request at a time, each on a new connection. It knows
// what versions differ in. The process runs the guest's code, so its answers are bounded and not trusted. It may import the standard library.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"syscall"
)

const (
	// maxRequest is the largest body, in bytes, that Firecracker takes. A larger one gets two answers, of which the second would be taken for
	// that of the next request.
	maxRequest = 51200
	// maxAnswer bounds the body of an answer, in bytes.
	maxAnswer = 256 << 10
)

// FaultError is a refusal of a request by Firecracker. Its text is bounded.
type FaultError struct {
	Method, Path string
	Status       int
	Message      string
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("firecracker: %s %s: status %d: %.400q", e.Method, e.Path, e.Status, e.Message)
}

// errno is how errors of system calls are in messages: "Out of memory (os error 12)", "Kvm(Error(13))", and as Rust's standard library
// prints them to programmers, "Os { code: 28, kind: StorageFull, message: … }".
var errno = regexp.MustCompile(`(?:os error |\bError\(|\bOs { code: )([0-9]{1,3})[),]`)

// Errno is the error of a system call that the message has last; 0 if it has none.
func (e *FaultError) Errno() syscall.Errno {
	all := errno.FindAllStringSubmatch(e.Message, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1]) // At most three digits.
	return syscall.Errno(n)
}

// Client asks one process. Safe for concurrent use: a request waits for those before it, and ends with its context, which needs a deadline.
// It holds nothing open between requests.
type Client struct {
	http    http.Client
	turn    chan struct{} // Holds a value while a request is made.
	version Version
}

// Open reads the version of the process that dial connects to. It fails if that is older than Oldest.
func Open(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*Client, error) {
	c := &Client{turn: make(chan struct{}, 1)}
	// A new connection for each request: the answers on a kept one can be out of step.
	c.http.Transport = &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("unexpected redirect") }
	var answer struct {
		Version string `json:"firecracker_version"`
	}
	if err := c.do(ctx, http.MethodGet, "/version", nil, &answer); err != nil {
		return nil, err
	}
	var err error
	if c.version, err = ParseVersion(answer.Version); err != nil {
		return nil, err
	}
	if c.version.Before(Oldest) {
		return nil, fmt.Errorf("firecracker %s is too old: %s or later is needed", c.version, Oldest)
	}
	return c, nil
}

// Version is that of the process.
func (c *Client) Version() Version { return c.version }

// do makes a request. answer is nil if none is expected.
func (c *Client) do(ctx context.Context, method, path string, request, answer any) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return fmt.Errorf("firecracker: %s %s: %w", method, path, ctx.Err())
	}
	var body io.Reader
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			return err
		}
		if len(data) > maxRequest {
			return fmt.Errorf("firecracker: %s %s: the request takes %d bytes, more than %d", method, path, len(data), maxRequest)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("firecracker: %s %s: %w", method, path, errors.Join(err, ctx.Err()))
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols { // The body would be the connection, which does not end with ctx.
		return &FaultError{Method: method, Path: path, Status: response.StatusCode}
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("firecracker: %s %s: %w", method, path, errors.Join(err, ctx.Err()))
	case len(data) > maxAnswer:
		return fmt.Errorf("firecracker: %s %s: the answer is longer than %d bytes", method, path, maxAnswer)
	case response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNoContent:
		fault := &FaultError{Method: method, Path: path, Status: response.StatusCode}
		var text struct {
			Message string `json:"fault_message"`
		}
		if fault.Message = string(data); json.Unmarshal(data, &text) == nil {
			fault.Message = text.Message
		}
		return fault
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("firecracker: %s %s: the answer is not what was asked for: %w", method, path, err)
	}
	return nil
}
