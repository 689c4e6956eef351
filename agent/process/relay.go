//go:build linux

package process

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/rundlet/rundlet/api/gen/envd/processpb"
)

var (
	errExpired = errors.New("the timeout of the request has passed")
	errSlow    = errors.New("the client reads the output too slowly")
)

// relay sends the start event and then what sub receives, until the process
// ends, the client leaves, or the timeout passes.
func relay(ctx context.Context, p *proc, sub *subscription, expired <-chan struct{}, ping time.Duration, send func(*processpb.ProcessEvent) error) error {
	start := &processpb.ProcessEvent_StartEvent{Pid: p.pid}
	if err := send(&processpb.ProcessEvent{Event: &processpb.ProcessEvent_Start{Start: start}}); err != nil {
		return err
	}
	keepalive := time.NewTimer(ping)
	defer keepalive.Stop()
	for {
		var ev *processpb.ProcessEvent
		select {
		case <-ctx.Done():
			return connect.NewError(connect.CodeCanceled, ctx.Err())
		case <-expired:
			return connect.NewError(connect.CodeDeadlineExceeded, errExpired)
		case <-sub.gone:
			if sub.dropped {
				return connect.NewError(connect.CodeResourceExhausted, errSlow)
			}
			return nil
		case ev = <-sub.events:
		case <-keepalive.C:
			ev = &processpb.ProcessEvent{Event: &processpb.ProcessEvent_Keepalive{Keepalive: &processpb.ProcessEvent_KeepAlive{}}}
		}
		if err := send(ev); err != nil {
			return err
		}
		if ev.GetEnd() != nil {
			return nil
		}
		keepalive.Reset(ping)
	}
}
