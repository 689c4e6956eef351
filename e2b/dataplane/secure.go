package dataplane

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/e2b/internal/secure"
	"github.com/rundlet/rundlet/sandbox"
)

// hostFor is the Host that a program sees: that of the client, unless its sandbox has a mask.
func hostFor(r *http.Request, t route.Target, in sandbox.Ingress) string {
	if in.MaskHost == "" {
		return r.Host
	}
	return strings.ReplaceAll(in.MaskHost, "${PORT}", strconv.Itoa(int(t.Port)))
}

// dialSecure is the DialTLSContext of the transport of ports. The bounds on answers hold for what is in the
// encryption, as for other ports.
func (r *run) dialSecure(ctx context.Context, _, addr string) (net.Conn, error) {
	host := ""
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		host = x.host
	}
	return r.connect(ctx, addr, func(raw net.Conn) (net.Conn, error) { return secure.Over(ctx, raw, host, r.over) })
}
