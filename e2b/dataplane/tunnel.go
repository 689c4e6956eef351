package dataplane

import (
	"net"
	"net/http"
	"strconv"

	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/e2b/internal/tunnel"
	"github.com/rundlet/rundlet/internal/halfclose"
)

// Tunnel joins the client of a CONNECT with a stream to the target, as TCP would. The caller has checked the
// client's key, so that the tunnel needs no token of the sandbox. There is none to the agent, whose control routes are
// not visible in it. It ends as Serve does.
func (p *Proxy) Tunnel(w http.ResponseWriter, r *http.Request, t route.Target) {
	p.serve(w, r, &exchange{target: t, tunnel: true})
}

// dig opens the tunnel, and returns when it has ended. It leaves a stream that a pause kept it from to carry.
func (p *Proxy) dig(w http.ResponseWriter, r *http.Request) error {
	x := exchangeOf(r)
	nc, err := x.run.dial(r.Context(), "", net.JoinHostPort(x.target.ID, strconv.Itoa(int(x.target.Port))))
	switch {
	case err == nil:
	case r.Context().Err() != nil || explained(err):
		return err
	default:
		x.cut, x.unsent = err, true
		return nil
	}
	guest := nc.(*conn)
	guest.upgraded.Store(true)
	client, err := tunnel.Accept(w, r, func() {
		if p.onBreak != nil {
			p.onBreak(x.in)
		}
	})
	if err != nil {
		guest.Close()
		return err
	}
	halfclose.Join(client, guest, x.run.over, func() { client.Reset(); halfclose.Break(guest.Conn) })
	return nil
}
