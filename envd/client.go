package envd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxReply bounds what is read of an agent's reply: the guest is not trusted.
const maxReply = 64 << 10

// Dial opens a connection to the agent's port.
type Dial func(ctx context.Context) (net.Conn, error)

// Init delivers req over one connection in one round trip. Errors are
// ErrUnreachable, ErrUnauthorized or a *StatusError.
func Init(ctx context.Context, dial Dial, req InitRequest) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("agent init: encode: %w", err)
	}
	token := req.CurrentToken
	if token == "" {
		token = req.ControlToken
	}
	return roundTrip(ctx, dial, "init", post(InitPath, token, body))
}

// Trust makes the guest's programs trust the authorities whose certificates bundle has in PEM, in place of those that it
// was given before. Programs that run already may have to be started again. The agent must be initialised. Errors are as
// for Init; a *StatusError with http.StatusNotFound is that of an agent that cannot do it.
func Trust(ctx context.Context, dial Dial, controlToken, bundle string) error {
	body, err := json.Marshal(TrustRequest{bundle})
	if err != nil {
		return fmt.Errorf("agent trust: encode: %w", err)
	}
	return roundTrip(ctx, dial, "trust", post(TrustPath, controlToken, body))
}

// post is a control request.
func post(path, token string, body []byte) []byte {
	head := "POST " + path + " HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n" +
		ControlTokenHeader + ": " + token + "\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}

// Health asks whether the agent answers. Errors are as for Init.
func Health(ctx context.Context, dial Dial) error {
	return roundTrip(ctx, dial, "health", []byte("GET "+HealthPath+" HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"))
}

func roundTrip(ctx context.Context, dial Dial, op string, request []byte) error {
	conn, err := dial(ctx)
	if err != nil {
		return fmt.Errorf("agent %s: %w: %w", op, ErrUnreachable, err)
	}
	defer conn.Close()
	resp, _, err := exchange(ctx, conn, op, request, maxReply)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	return replyError(op, resp)
}

// exchange sends a request and reads the head of its reply, which has at most so many bytes.
func exchange(ctx context.Context, conn net.Conn, op string, request []byte, most int64) (*http.Response, *bufio.Reader, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(request); err != nil {
		return nil, nil, broken(ctx, op, err)
	}
	br := bufio.NewReader(&io.LimitedReader{R: conn, N: most})
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, nil, broken(ctx, op, err)
	}
	return resp, br, nil
}

func broken(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("agent %s: %w: %w", op, ErrUnreachable, err)
}

func replyError(op string, resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	var msg struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &msg) != nil || msg.Message == "" {
		msg.Message = string(bytes.TrimSpace(body))
	}
	err := &StatusError{Op: op, Status: resp.StatusCode, Message: msg.Message}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	case resp.StatusCode == http.StatusBadGateway && op == "dial":
		return fmt.Errorf("%w: %w", ErrPortClosed, err)
	}
	return err
}
