package client

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	processpb "github.com/rundlet/rundlet/api/gen/envd/processpb"
)

func selector(pid uint32) *processpb.ProcessSelector {
	return &processpb.ProcessSelector{Selector: &processpb.ProcessSelector_Pid{Pid: pid}}
}

func pty(size Winsize) *processpb.PTY {
	return &processpb.PTY{Size: &processpb.PTY_Size{Cols: size.Cols, Rows: size.Rows}}
}

// exitCode follows the shells: 128 and the number for a signal.
func exitCode(end *processpb.ProcessEvent_EndEvent) int {
	if end.GetExitCode() >= 0 {
		return int(end.GetExitCode())
	}
	for text, number := range map[string]int{"hangup": 1, "interrupt": 2, "quit": 3, "aborted": 6, "killed": 9,
		"segmentation fault": 11, "broken pipe": 13, "terminated": 15} {
		if strings.Contains(end.GetStatus(), text) {
			return 128 + number
		}
	}
	return 128
}

// plain drops connect's code prefix: people read the message.
func plain(err error) error {
	if ce := new(connect.Error); errors.As(err, &ce) {
		return errors.New(ce.Message())
	}
	return err
}

// headers adds the agent's headers and the user to unary calls and streams.
func (a Agent) headers(user string) connect.Interceptor { return headerInterceptor{a.Header, user} }

type headerInterceptor struct {
	header http.Header
	user   string
}

func (h headerInterceptor) set(to http.Header) {
	for k, v := range h.header {
		to[k] = v
	}
	if h.user != "" {
		to.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(h.user+":")))
	}
}

func (h headerInterceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		h.set(req.Header())
		return next(ctx, req)
	}
}

func (h headerInterceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		h.set(conn.RequestHeader())
		return conn
	}
}

func (h headerInterceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
