package dataplane

import (
	"errors"
	"io"
	"net/http"

	"github.com/rundlet/rundlet/e2b/internal/quiet"
	"github.com/rundlet/rundlet/internal/halfclose"
)

// OnBreak sets a function that closes the connection of a client that has switched
// to another protocol, when its sandbox goes away.
func (p *Proxy) OnBreak(reset func(r *http.Request)) { p.onBreak = reset }

// watchUpgrade breaks the client's connection off with that into the sandbox,
// whose end is otherwise passed on as one.
func (p *Proxy) watchUpgrade(resp *http.Response) {
	x := exchangeOf(resp.Request)
	body, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	if x.conn != nil {
		x.conn.upgraded.Store(true)
	}
	if p.onBreak != nil {
		resp.Body = &upgraded{ReadWriteCloser: body, run: x.run, reset: func() { p.onBreak(x.in) }}
	}
}

// upgraded is a connection into a sandbox that speaks another protocol.
type upgraded struct {
	io.ReadWriteCloser
	run   *run
	reset func()
}

func (u *upgraded) Read(b []byte) (int, error) {
	n, err := u.ReadWriteCloser.Read(b)
	if err != nil && (!errors.Is(err, io.EOF) || u.run.hasEnded()) {
		u.reset()
	}
	return n, err
}

// WriteTo and ReadFrom are what io.Copy uses: most such connections are silent most of the time.
func (u *upgraded) WriteTo(to io.Writer) (int64, error) { return quiet.Copy(to, u) }

// ReadFrom is as WriteTo.
func (u *upgraded) ReadFrom(from io.Reader) (int64, error) { return quiet.Copy(u, from) }

// CloseWrite ends the sending side where the connection can.
func (u *upgraded) CloseWrite() error {
	return halfclose.Write(u.ReadWriteCloser, u.Close)
}

func (r *run) hasEnded() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}
