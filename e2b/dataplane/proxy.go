package dataplane

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/e2b/internal/readonly"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/e2b/internal/route"
	"github.com/rundlet/rundlet/e2b/internal/secrets"
	"github.com/rundlet/rundlet/e2b/internal/seldom"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/sandbox"
)

// Proxy carries requests to sandboxes. It is safe for concurrent use and must be
// closed.
type Proxy struct {
	sandboxes Sandboxes
	log       *seldom.Logger
	observer  Observer                                                  // may be nil
	onAccess  func(ctx context.Context, token bool)                     // may be nil
	onWork    func(r *http.Request, work float64) (time.Duration, bool) // may be nil
	onBreak   func(r *http.Request)                                     // may be nil
	signers   signers
	searching sync.Mutex
	searchers chan struct{}
	wakers    quota.Waits // for resumes, by sandbox
	// syncers and syncersOfKey count the writes that wait for a sync, by sandbox and by key.
	syncers, syncersOfKey quota.Waits
	heads                 *quota.Budget // of the heads of answers
	headTime              time.Duration
	freshTime             time.Duration
	pool                  pool
	rp                    httputil.ReverseProxy
}

// New returns a proxy over the streams that sandboxes dials.
func New(sandboxes Sandboxes, logger *slog.Logger) *Proxy {
	p := &Proxy{sandboxes: sandboxes, log: seldom.New(logger), heads: quota.NewBudget(allHeads, headsOfOne), headTime: headTime, freshTime: freshTime,
		searchers: make(chan struct{}, searchers)}
	p.pool = pool{sandboxes: sandboxes, runs: make(map[lifecycle]*run), openOf: map[string]int{}}
	p.rp = httputil.ReverseProxy{
		Rewrite:   rewrite,
		Transport: roundTripper{},
		// For answers of known length: all others are flushed at once. To flush these at once, too, would send each
		// small one in two packets.
		FlushInterval: time.Millisecond,
		BufferPool:    buffers{},
		// That streams break off is everyday: sandboxes are killed.
		ErrorLog:     slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ErrorHandler: p.broke,
	}
	p.observer, _ = sandboxes.(Observer)
	p.rp.ModifyResponse = func(resp *http.Response) error {
		if x := exchangeOf(resp.Request); !x.unasked() {
			x.request.awaitEnd(resp.Request.Context())
			x.answered(resp)
		}
		exchangeOf(resp.Request).target.Scope(resp.Header)
		p.watchUpgrade(resp)
		p.observe(resp)
		return nil
	}
	return p
}

// Bound sets how many connections into sandboxes there may be at the same time.
// One sandbox gets a quarter of them at most, and all sandboxes of a key three quarters. Unbounded without it.
func (p *Proxy) Bound(most int) {
	p.pool.most, p.pool.mostOfOne, p.pool.mostOfKey = most, max(1, most/4), max(1, most-most/4)
}

// OnAccess sets a function that is called for each request for a sandbox that exists, before
// it is carried there, and whether it has a token of that sandbox.
func (p *Proxy) OnAccess(told func(ctx context.Context, token bool)) { p.onAccess = told }

// Close breaks off every stream. Requests after it fail.
func (p *Proxy) Close() { p.pool.close() }

// Drop breaks off every stream of a sandbox that was killed.
func (p *Proxy) Drop(id string) {
	if id != "" {
		p.pool.drop(id)
	}
}

// exchange is the state of one request on its way through the reverse proxy.
type exchange struct {
	target route.Target
	host   string        // that the program sees
	tunnel bool          // not a request for the program, but a stream to it
	in     *http.Request // as it came
	client *http.ResponseController
	run    *run
	begin  time.Time
	// request is the body on its way in, where its end matters; else nil.
	request *requestBody
	// again is the body, which can be sent again as long as nothing was read of it.
	again *unread
	// conn is the connection that it was sent over last, or nil.
	conn *conn
	// cut is why the last attempt got no answer, if the run may have ended; unsent:
	// the sandbox had got nothing of it.
	cut    error
	unsent bool
	// sandbox is the one that was asked for, as it was then.
	sandbox sandbox.Sandbox
	// shown: it has a token of the sandbox that it may resume.
	shown bool
	// head bounds that of the answer.
	head head
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	return r.Context().Value(exchangeKey{}).(*exchange)
}

// Serve carries the request to the target and its answer back. A stream that
// breaks off in the sandbox breaks off at the client too (it panics with
// http.ErrAbortHandler), without anything that looks like an end.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, t route.Target) {
	p.serve(t.Interim(w), t.Strip(r), &exchange{target: t})
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, x *exchange) {
	t := x.target
	if secrets.InAddress(r) {
		refuse(w, r, t, refusal.KeyInAddress.With())
		return
	}
	if t.Port == envd.Port && (x.tunnel || envd.HostOnly(r.URL.Path)) {
		refuse(w, r, t, refusal.ControlRoute.With())
		return
	}
	x.begin = time.Now()
	x.head = head{budget: p.heads, owner: t.ID, time: p.headTime}
	defer x.head.end()
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	x.in, x.client = r, http.NewResponseController(w)
	sb, err := p.sandboxes.Get(r.Context(), t.ID)
	if err == nil && !wakes(sb) {
		err = serving(sb.State)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	if t.Port != envd.Port && sb.TrafficAccessToken != "" && !x.tunnel {
		if e := checkToken(r, envd.TrafficTokenHeader, sb.TrafficAccessToken, refusal.TrafficTokenMissing, refusal.TrafficTokenInvalid); e != nil {
			refuse(w, r, t, e)
			return
		}
	}
	x.sandbox = sb
	token := hasToken(r, sb)
	if p.onAccess != nil {
		p.onAccess(r.Context(), token)
	}
	if token {
		p.Signer(sb.ID, sb.EnvdAccessToken)
	}
	if wakes(sb) && sb.AutoResume {
		if x.shown, err = mayWake(r, t, sb); err != nil {
			p.fail(w, r, err)
			return
		}
	}
	x.again = &unread{ReadCloser: r.Body}
	r.Body = x.again
	p.carry(w, r, sb)
}

// attempt carries the request to a sandbox that runs or is resumed first. An
// error means that it did not get so far.
func (p *Proxy) attempt(w http.ResponseWriter, r *http.Request, sb sandbox.Sandbox) (err error) {
	x := exchangeOf(r)
	for {
		if wakes(sb) {
			sb, err = p.wake(r, sb)
		} else {
			err = serving(sb.State)
		}
		if err != nil {
			return err
		}
		if sb.Freshness.Open() || readonly.Allows(r, x.target.Port, x.tunnel) {
			break
		}
		if sb, err = p.awaitFresh(r, sb); err != nil {
			return err
		}
	}
	if x.run, err = p.pool.acquire(sb); err != nil {
		return err
	}
	defer x.run.release()
	x.conn = nil
	if x.tunnel {
		return p.dig(w, r)
	}
	out := r
	if r.ProtoMajor == 1 && r.ContentLength != 0 && r.ContentLength <= mayBeTaken {
		x.request = newRequestBody(r.Body, http.NewResponseController(w))
		out = r.WithContext(r.Context())
		out.Body = x.request
	}
	p.rp.ServeHTTP(w, out)
	return nil
}

// HasToken reports whether a request for a target has a token of its sandbox.
func (p *Proxy) HasToken(r *http.Request, t route.Target) bool {
	sb, err := p.sandboxes.Get(r.Context(), t.ID)
	return err == nil && hasToken(r, sb)
}

// hasToken reports whether a request has a token of the sandbox.
func hasToken(r *http.Request, sb sandbox.Sandbox) bool {
	for _, t := range []struct{ header, token string }{
		{envd.AccessTokenHeader, sb.EnvdAccessToken}, {envd.TrafficTokenHeader, sb.TrafficAccessToken},
	} {
		if t.token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get(t.header)), []byte(t.token)) == 1 {
			return true
		}
	}
	return false
}

// checkToken returns nil if the header of a request has the token, and else a
// refusal that names the fault.
func checkToken(r *http.Request, header, token string, missing, invalid *refusal.Row) *refusal.Error {
	switch shown := r.Header.Get(header); {
	case shown == "":
		return missing.With(strings.ToLower(header))
	case subtle.ConstantTimeCompare([]byte(shown), []byte(token)) != 1:
		return invalid.With(strings.ToLower(header))
	}
	return nil
}

// serving reports whether a sandbox in this state takes requests, or will.
func serving(s sandbox.State) error {
	if s == sandbox.StateRunning || moving(s) {
		return nil
	}
	return sandbox.ErrNotRunning
}

func rewrite(r *httputil.ProxyRequest) {
	r.SetXForwarded()
	x := exchangeOf(r.In)
	t := x.target
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = t.ID + ":" + strconv.Itoa(int(t.Port))
	// As it came: the service may like semicolons.
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	if t.Port != envd.Port {
		r.Out.Host = hostFor(r.In, t, x.sandbox.Ingress)
		x.host = r.Out.Host
		if slices.Contains(x.sandbox.Ingress.HTTPSPorts, t.Port) {
			r.Out.URL.Scheme = "https"
		}
	}
	if t.Prefix != "" {
		r.Out.Header.Set("X-Forwarded-Prefix", t.Prefix)
	}
	secrets.Scrub(r.Out, t, x.sandbox)
}

// roundTripper sends a request over the connections of its run.
type roundTripper struct{}

func (roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r)
	transport := x.run.port
	switch {
	case x.target.Port == envd.Port:
		transport = x.run.agent
	case r.URL.Scheme == "http" && r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		// Its heads are not text; the transport bounds them.
		return x.run.grpc.RoundTrip(r)
	case mayUseKept(r):
		transport = x.run.kept
	}
	resp, err := x.send(transport, r)
	if err != nil && transport == x.run.kept && x.conn != nil && x.conn.before.Load() > 0 && r.Context().Err() == nil && !explained(err) {
		// What came may be the rest of an earlier answer. The request may be sent twice.
		return x.send(x.run.port, r)
	}
	return resp, err
}

// send sends a request over a connection of the transport.
func (x *exchange) send(transport *http.Transport, r *http.Request) (*http.Response, error) {
	var out *http.Request
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if c, ok := info.Conn.(*conn); ok {
			if info.Reused {
				c.reads.await()
			}
			if transport == x.run.kept && time.Since(c.opened) > portLife {
				out.Close = true
			}
			x.conn = c
			c.before.Store(c.sent.Load())
			x.head.watch(c)
		}
	}}
	out = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	resp, err := transport.RoundTrip(out)
	if why := x.head.stop(); why != nil && err != nil {
		err = why // The transport says only that the connection broke.
	}
	return resp, err
}

// buffers lends the copy buffers of the reverse proxy.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (buffers) Get() []byte { return *bufferPool.Get().(*[]byte) }

func (buffers) Put(b []byte) { bufferPool.Put(&b) }
