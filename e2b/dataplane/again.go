package dataplane

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/secure"
	"github.com/rundlet/rundlet/sandbox"
)

// mostAttempts bounds how often one request is sent: each time after the first a
// pause came in between.
const mostAttempts = 20

// carry sends a request to its sandbox. One that a pause cuts waits for the
// next state of the sandbox, and is sent again if that is safe: see next.
func (p *Proxy) carry(w http.ResponseWriter, r *http.Request, sb sandbox.Sandbox) {
	x := exchangeOf(r)
	for attempt := 1; ; attempt++ {
		err := p.attempt(w, r, sb)
		if err == nil && x.cut == nil {
			x.drain()
			return
		}
		if err == nil {
			sb, err = p.next(r, attempt)
		}
		if err != nil {
			p.fail(w, r, err)
			return
		}
	}
}

// broke is the ErrorHandler of the reverse proxy: a request got no answer from
// the sandbox. An error that the proxy did not make is judged when the reverse
// proxy has returned.
func (p *Proxy) broke(w http.ResponseWriter, r *http.Request, err error) {
	if x := exchangeOf(r); r.Context().Err() == nil && !explained(err) {
		x.cut, x.unsent = err, errors.Is(err, errNoStream) || errors.Is(err, secure.ErrHandshake) || x.nothingSent()
		return
	}
	p.fail(w, r, err)
}

// explained reports an error that does not come from the end of a run.
func explained(err error) bool {
	if errors.Is(err, errNoStream) {
		return false
	}
	for _, known := range []error{sandbox.ErrPortClosed, sandbox.ErrLacking, sandbox.ErrUnavailable,
		errTooManyStreams, errTooManyHeads, errHeadTooLarge, errSlowHead} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// next returns the sandbox that a request which was cut is sent to again, or why
// it is not. It waits for a change of state that is under way. A request that
// was not sent yet goes to the next run of the sandbox; so does one that may be sent
// twice. Any other may have had its effect, and gets an error: the run it was sent to is gone.
func (p *Proxy) next(r *http.Request, attempts int) (sb sandbox.Sandbox, err error) {
	x := exchangeOf(r)
	cut, id := x.cut, x.target.ID
	x.cut = nil
	if _, ok := p.wakers.Enter(id, p.pool.most, p.pool.mostOfOne); !ok {
		return sb, errTooManyStreams
	}
	sb, err = p.sandboxes.Settled(r.Context(), id)
	p.wakers.Leave(id)
	if err != nil {
		return sb, err
	}
	same := sb.State == sandbox.StateRunning && x.run.of(sb)
	last := attempts == mostAttempts
	switch {
	case same && (last || !errors.Is(cut, errNoStream)):
		return sb, cut // The program closed the connection.
	case last || x.again.touched.Load() || !x.unsent && !idempotent(r):
		return sb, sandbox.ErrNotRunning
	case wakes(sb) && sb.AutoResume:
		x.shown, err = mayWake(r, x.target, sb)
	}
	return sb, err
}

// idempotent reports a request that may be sent twice, by the rule that
// net/http has for its own.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != ""
}

// nothingSent reports that the connection of the exchange took no byte of it.
func (x *exchange) nothingSent() bool {
	return x.conn != nil && x.conn.sent.Load() == x.conn.before.Load()
}

// of reports whether a sandbox is in this run.
func (r *run) of(sb sandbox.Sandbox) bool {
	return r.key == lifecycle{sb.ID, sb.StartedAt.UnixNano()}
}

// unread is a body that stays usable until the first read: a transport
// that cannot dial closes it all the same. The server closes it in the end.
type unread struct {
	io.ReadCloser
	touched, closed atomic.Bool
	read            atomic.Int64 // bytes
	// early: the answer came before the end, which is read after it.
	early bool
}

func (u *unread) Read(p []byte) (int, error) {
	u.touched.Store(true)
	if u.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := u.ReadCloser.Read(p)
	u.read.Add(int64(n))
	return n, err
}

func (u *unread) Close() error {
	if u.touched.Load() {
		u.closed.Store(true)
	}
	return nil
}

// mostDrained bounds the part of an unwanted body that is read, so that a client
// which reads the answer only after it has sent the whole body gets the answer.
const mostDrained = 64 << 20

// answered keeps a long body of HTTP/1 readable after the answer to it began; the
// connection is not used again then. net/http would close it: see mayBeTaken.
func (x *exchange) answered(resp *http.Response) {
	r := x.in
	if r.ProtoMajor != 1 || r.ContentLength <= mayBeTaken || resp.StatusCode < http.StatusOK || x.again.read.Load() >= r.ContentLength {
		return
	}
	if x.client.EnableFullDuplex() == nil {
		x.again.early = true
		resp.Header.Set("Connection", "close")
	}
}

// unasked reports that the client waits to be asked for its body, and was not. A client that
// is answered by then does not send it.
func (x *exchange) unasked() bool {
	return x.in.ProtoMajor == 1 && x.in.Header.Get("Expect") != "" && !x.again.touched.Load()
}

// drain reads the rest of a body that was answered too early.
func (x *exchange) drain() {
	if x.again.early && x.client.Flush() == nil && x.client.SetReadDeadline(time.Now().Add(bodyGrace)) == nil {
		_, _ = io.CopyN(io.Discard, x.again.ReadCloser, mostDrained)
	}
}
